-- Reading as a function, so that what is asked for by key is one message to the server, under the role and the scopes of
-- whoever asks. `keys` is a list of kind, tenant, user and id; a row is answered with its number in it.
CREATE FUNCTION holdfast.read_1(document text) RETURNS TABLE (
    number bigint, kind text, tenant text, "user" text, id text, version bigint, epoch bigint, owner text, chain text,
    deleted boolean, status text, due_us bigint, queue text, labels text, change_id text, written_us bigint, digest text,
    body text
)
LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    given jsonb := document::jsonb;
BEGIN
    PERFORM set_config('holdfast.scopes', given ->> 'scopes', true), set_config('role', given ->> 'role', true);
    RETURN QUERY
        SELECT k.number, found.*
        FROM jsonb_array_elements(given -> 'keys') WITH ORDINALITY AS k (g, number) CROSS JOIN LATERAL (
            SELECT t.kind, t.tenant, t."user", t.id, t.version, t.epoch, t.owner, t.chain, t.deleted, t.status, t.due_us,
                t.queue, t.labels::text, t.change_id, t.written_us, t.digest, t.body
            FROM holdfast.records AS t
            WHERE t.kind = g ->> 0 AND t.tenant = g ->> 1 AND t."user" = g ->> 2 AND t.id = g ->> 3 AND NOT t.deleted
            LIMIT 1
        ) AS found;
END $$;
