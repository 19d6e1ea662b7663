-- Records: the truth. A deleted one stays as a row without a body, so that its version and epoch go on.
-- Times are whole microseconds since the epoch. The body comes last, so that the other columns share one page.
CREATE TABLE records (
    tenant TEXT NOT NULL,
    user TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    owner TEXT NOT NULL,
    chain TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    status TEXT NOT NULL,
    due_us INTEGER,
    queue TEXT NOT NULL,
    labels TEXT NOT NULL,
    change_id TEXT NOT NULL,
    written_us INTEGER NOT NULL,
    digest TEXT NOT NULL,
    body TEXT NOT NULL
);

CREATE UNIQUE INDEX records_key ON records (kind, tenant, user, id);
-- Partial, so that a record without these fields, such as a memo, pays for one index only.
CREATE INDEX records_status ON records (kind, status, due_us) WHERE status <> '';
CREATE INDEX records_due ON records (kind, due_us) WHERE due_us IS NOT NULL;
CREATE INDEX records_owner ON records (kind, owner) WHERE owner <> '';

-- Events: the journal by record, and each user's stream by (incarnation, seq).
CREATE TABLE events (
    row INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    user TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    incarnation INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    version INTEGER NOT NULL,
    name TEXT NOT NULL,
    change_id TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    previous TEXT NOT NULL,
    digest TEXT NOT NULL,
    body TEXT NOT NULL,
    delta TEXT NOT NULL
);

CREATE UNIQUE INDEX events_stream ON events (tenant, user, incarnation, seq);
CREATE INDEX events_journal ON events (kind, id, tenant, user, incarnation, seq);

-- The last number of each user's stream.
CREATE TABLE streams (
    tenant TEXT NOT NULL,
    user TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (tenant, user)
) WITHOUT ROWID;

-- Where a trimmed journal was cut: the digest of the last event that went.
CREATE TABLE anchors (
    tenant TEXT NOT NULL,
    user TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (kind, tenant, user, id)
) WITHOUT ROWID;

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO meta (name, value) VALUES ('incarnation', 1);

-- The three tables that operators know, as views, and an index below each column that they search by.
CREATE VIEW workflow_states AS
SELECT
    id AS workflow_id,
    json_extract(labels, '$.ticket') AS ticket_id,
    json_extract(labels, '$.main_state') AS main_state,
    json_extract(body, '$.sub_state') AS sub_state,
    json_extract(body, '$.detailed_state') AS detailed_state,
    json_extract(body, '$.data') AS context,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.created_at'), 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', written_us / 1000000.0, 'unixepoch') AS updated_at,
    json_extract(body, '$.retry_count') AS retry_count,
    json_extract(body, '$.max_retries') AS max_retries,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.timeout_at'), 'unixepoch') AS timeout_at,
    json_extract(body, '$.escalated') AS escalated,
    version
FROM records
WHERE kind = 'run' AND deleted = 0;

CREATE INDEX run_workflow ON records (id) WHERE kind = 'run';
CREATE INDEX run_ticket ON records (json_extract(labels, '$.ticket')) WHERE kind = 'run';
CREATE INDEX run_main_state ON records (json_extract(labels, '$.main_state')) WHERE kind = 'run';
CREATE INDEX run_updated ON records (
    strftime('%Y-%m-%dT%H:%M:%fZ', written_us / 1000000.0, 'unixepoch')
) WHERE kind = 'run';

CREATE VIEW state_transitions AS
SELECT
    row AS id,
    id AS workflow_id,
    json_extract(body, '$.from') AS from_state,
    json_extract(body, '$.to') AS to_state,
    strftime('%Y-%m-%dT%H:%M:%fZ', at_us / 1000000.0, 'unixepoch') AS timestamp,
    json_extract(body, '$.trigger') AS trigger_event,
    json_extract(body, '$.agent') AS agent_id,
    json_extract(body, '$.metadata') AS metadata,
    strftime('%Y-%m-%dT%H:%M:%fZ', at_us / 1000000.0, 'unixepoch') AS created_at
FROM events
WHERE kind = 'run' AND name = 'transition';

CREATE INDEX transition_time ON events (
    strftime('%Y-%m-%dT%H:%M:%fZ', at_us / 1000000.0, 'unixepoch')
) WHERE kind = 'run' AND name = 'transition';

CREATE VIEW workflow_checkpoints AS
SELECT
    id,
    json_extract(body, '$.workflow_id') AS workflow_id,
    json_extract(body, '$.name') AS checkpoint_name,
    json_extract(body, '$.snapshot') AS state_snapshot,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.created_at'), 'unixepoch') AS created_at
FROM records
WHERE kind = 'checkpoint' AND deleted = 0;

CREATE INDEX checkpoint_workflow ON records (json_extract(body, '$.workflow_id')) WHERE kind = 'checkpoint';
