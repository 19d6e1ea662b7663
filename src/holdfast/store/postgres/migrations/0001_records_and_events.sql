-- Times are whole microseconds since the epoch. Text is compared by bytes, which for UTF-8 is the order of code points.
CREATE TABLE holdfast.meta (
    name text COLLATE "C" PRIMARY KEY,
    value bigint NOT NULL
);

-- `schema`: the last migration applied; `least`: the oldest code that can work with it, by the last one it knows.
INSERT INTO holdfast.meta (name, value) VALUES ('incarnation', 1), ('schema', 0), ('least', 0);

-- Records: the truth. A deleted one stays as a row without a body, so that its version and epoch go on.
CREATE TABLE holdfast.records (
    tenant text COLLATE "C" NOT NULL,
    "user" text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    epoch bigint NOT NULL,
    due_us bigint,
    written_us bigint NOT NULL,
    deleted boolean NOT NULL,
    owner text COLLATE "C" NOT NULL,
    chain text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    change_id text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL,
    labels jsonb NOT NULL,
    body text COLLATE "C" NOT NULL,
    -- Columns, for behind the wall no index on a function of `labels` would be used: the function might tell on the rows
    -- that it is shown (it is not leakproof).
    ticket text COLLATE "C" GENERATED ALWAYS AS (labels ->> 'ticket') STORED,
    main_state text COLLATE "C" GENERATED ALWAYS AS (labels ->> 'main_state') STORED
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

CREATE UNIQUE INDEX records_key ON holdfast.records (kind, tenant, "user", id);
-- Partial, so that a record without these fields, such as a memo, pays for one index only.
CREATE INDEX records_status ON holdfast.records (kind, status, due_us) WHERE status <> '';
CREATE INDEX records_due ON holdfast.records (kind, due_us) WHERE due_us IS NOT NULL;
CREATE INDEX records_owner ON holdfast.records (kind, owner) WHERE owner <> '';

-- Events: the journal by record, and each user's stream by (incarnation, seq).
CREATE TABLE holdfast.events (
    row bigint GENERATED ALWAYS AS IDENTITY,
    tenant text COLLATE "C" NOT NULL,
    "user" text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    incarnation bigint NOT NULL,
    seq bigint NOT NULL,
    version bigint NOT NULL,
    at_us bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    change_id text COLLATE "C" NOT NULL,
    previous text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL,
    body text COLLATE "C" NOT NULL,
    delta text COLLATE "C" NOT NULL
);

CREATE UNIQUE INDEX events_stream ON holdfast.events (tenant, "user", incarnation, seq);
CREATE INDEX events_journal ON holdfast.events (kind, tenant, "user", id, incarnation, seq);

-- The last number of each user's stream. Every commit of a user's events updates his row, so it has room to.
CREATE TABLE holdfast.streams (
    tenant text COLLATE "C" NOT NULL,
    "user" text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (tenant, "user")
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Where a trimmed journal was cut: the digest of the last event that went.
CREATE TABLE holdfast.anchors (
    tenant text COLLATE "C" NOT NULL,
    "user" text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, tenant, "user", id)
);

-- Their sum is the generation of what caches hold. Several rows, so that processes that raise it do not queue up.
CREATE TABLE holdfast.generations (
    slot smallint PRIMARY KEY,
    value bigint NOT NULL
) WITH (fillfactor = 20);

INSERT INTO holdfast.generations (slot, value) SELECT slot, 0 FROM generate_series(0, 15) AS slot;

-- The second wall. A transaction runs as one of two roles that own nothing. `holdfast_scoped` sees the rows of the scopes
-- that the transaction named (keys of a JSON object: "4:acme/ana" for a user, "4:acme" for a tenant, each after the
-- tenant's length, so that no name can pose as another); without any it sees nothing. `holdfast_system` claims and sweeps.
ALTER TABLE holdfast.records ENABLE ROW LEVEL SECURITY;
ALTER TABLE holdfast.records FORCE ROW LEVEL SECURITY;
ALTER TABLE holdfast.events ENABLE ROW LEVEL SECURITY;
ALTER TABLE holdfast.events FORCE ROW LEVEL SECURITY;
ALTER TABLE holdfast.streams ENABLE ROW LEVEL SECURITY;
ALTER TABLE holdfast.streams FORCE ROW LEVEL SECURITY;
ALTER TABLE holdfast.anchors ENABLE ROW LEVEL SECURITY;
ALTER TABLE holdfast.anchors FORCE ROW LEVEL SECURITY;

CREATE POLICY scoped ON holdfast.records TO holdfast_scoped USING (
    (SELECT coalesce(nullif(current_setting('holdfast.scopes', true), ''), '{}')::jsonb)
    ?| ARRAY[length(tenant) || ':' || tenant || '/' || "user", length(tenant) || ':' || tenant]
);
CREATE POLICY scoped ON holdfast.events TO holdfast_scoped USING (
    (SELECT coalesce(nullif(current_setting('holdfast.scopes', true), ''), '{}')::jsonb)
    ?| ARRAY[length(tenant) || ':' || tenant || '/' || "user", length(tenant) || ':' || tenant]
);
CREATE POLICY scoped ON holdfast.streams TO holdfast_scoped USING (
    (SELECT coalesce(nullif(current_setting('holdfast.scopes', true), ''), '{}')::jsonb)
    ?| ARRAY[length(tenant) || ':' || tenant || '/' || "user", length(tenant) || ':' || tenant]
);
CREATE POLICY everything ON holdfast.records TO holdfast_system USING (true);
CREATE POLICY everything ON holdfast.events TO holdfast_system USING (true);
CREATE POLICY everything ON holdfast.streams TO holdfast_system USING (true);
CREATE POLICY everything ON holdfast.anchors TO holdfast_system USING (true);

GRANT USAGE ON SCHEMA holdfast TO holdfast_scoped, holdfast_system;
GRANT SELECT, INSERT, UPDATE, DELETE ON holdfast.records, holdfast.events, holdfast.streams
    TO holdfast_scoped, holdfast_system;
GRANT SELECT, INSERT, UPDATE, DELETE ON holdfast.anchors TO holdfast_system;
GRANT SELECT ON holdfast.meta TO holdfast_scoped, holdfast_system;
GRANT UPDATE ON holdfast.meta TO holdfast_system;
GRANT SELECT, UPDATE ON holdfast.generations TO holdfast_scoped, holdfast_system;

-- The three tables that operators know, as views, and an index below each column that they search by. A view shows to
-- each role what the role may see.
CREATE VIEW holdfast.workflow_states WITH (security_invoker = true) AS
SELECT
    id::uuid AS workflow_id,
    ticket AS ticket_id,
    main_state,
    body::jsonb ->> 'sub_state' AS sub_state,
    body::jsonb ->> 'detailed_state' AS detailed_state,
    body::jsonb -> 'data' AS context,
    to_timestamp((body::jsonb ->> 'created_at')::double precision) AS created_at,
    to_timestamp(written_us / 1000000.0) AS updated_at,
    (body::jsonb ->> 'retry_count')::integer AS retry_count,
    (body::jsonb ->> 'max_retries')::integer AS max_retries,
    to_timestamp((body::jsonb ->> 'timeout_at')::double precision) AS timeout_at,
    (body::jsonb ->> 'escalated')::boolean AS escalated,
    version
FROM holdfast.records
WHERE kind = 'run' AND NOT deleted;

CREATE INDEX run_workflow ON holdfast.records (id) WHERE kind = 'run';
CREATE INDEX run_ticket ON holdfast.records (ticket) WHERE kind = 'run';
CREATE INDEX run_main_state ON holdfast.records (main_state) WHERE kind = 'run';
CREATE INDEX run_updated ON holdfast.records ((to_timestamp(written_us / 1000000.0))) WHERE kind = 'run';

CREATE VIEW holdfast.state_transitions WITH (security_invoker = true) AS
SELECT
    row AS id,
    id::uuid AS workflow_id,
    body::jsonb ->> 'from' AS from_state,
    body::jsonb ->> 'to' AS to_state,
    to_timestamp(at_us / 1000000.0) AS timestamp,
    body::jsonb ->> 'trigger' AS trigger_event,
    body::jsonb ->> 'agent' AS agent_id,
    body::jsonb -> 'metadata' AS metadata,
    to_timestamp(at_us / 1000000.0) AS created_at
FROM holdfast.events
WHERE kind = 'run' AND name = 'transition';

CREATE INDEX transition_workflow ON holdfast.events (id) WHERE kind = 'run' AND name = 'transition';
CREATE INDEX transition_time ON holdfast.events ((to_timestamp(at_us / 1000000.0)))
WHERE kind = 'run' AND name = 'transition';

CREATE VIEW holdfast.workflow_checkpoints WITH (security_invoker = true) AS
SELECT
    id,
    (body::jsonb ->> 'workflow_id')::uuid AS workflow_id,
    body::jsonb ->> 'name' AS checkpoint_name,
    body::jsonb -> 'snapshot' AS state_snapshot,
    to_timestamp((body::jsonb ->> 'created_at')::double precision) AS created_at
FROM holdfast.records
WHERE kind = 'checkpoint' AND NOT deleted;

CREATE INDEX checkpoint_workflow ON holdfast.records (((body::jsonb ->> 'workflow_id'))) WHERE kind = 'checkpoint';

GRANT SELECT ON holdfast.workflow_states, holdfast.state_transitions, holdfast.workflow_checkpoints
    TO holdfast_scoped, holdfast_system;
