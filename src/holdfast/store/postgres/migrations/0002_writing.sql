-- Writing as functions, so that a batch is one message to the server. Their numbers let code of two releases work side
-- by side. A batch is a JSON document of rows, each row an array of columns; parsing it costs the server no more than
-- an array per column would, and the sender a quarter.
--
-- The plans in them are made while the tables are small, and kept. So each statement leaves only one way: row after row of
-- the document (a subquery with LIMIT or OFFSET is not turned around), found by the key's index, changed where it was
-- found (ctid), which nobody else moves while we hold its lock.

CREATE FUNCTION holdfast.write_1(given jsonb) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    wanted bigint;
    done bigint;
BEGIN
    IF given ? 'inserted' THEN
        INSERT INTO holdfast.records (kind, tenant, "user", id, version, epoch, owner, chain, deleted, status, due_us,
            queue, labels, change_id, written_us, digest, body)
        SELECT g ->> 0, g ->> 1, g ->> 2, g ->> 3, (g ->> 4)::bigint, (g ->> 5)::bigint, g ->> 6, g ->> 7,
            (g ->> 8)::boolean, g ->> 9, (g ->> 10)::bigint, g ->> 11, g -> 12, g ->> 13, (g ->> 14)::bigint,
            g ->> 15, g ->> 16
        FROM jsonb_array_elements(given -> 'inserted') AS g
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS done = ROW_COUNT;
        wanted := jsonb_array_length(given -> 'inserted');
        IF done <> wanted THEN
            RAISE 'somebody else made % of these records', wanted - done USING ERRCODE = 'serialization_failure';
        END IF;
    END IF;
    IF given ? 'begun' THEN
        INSERT INTO holdfast.streams (tenant, "user", seq)
        SELECT g ->> 0, g ->> 1, (g ->> 2)::bigint FROM jsonb_array_elements(given -> 'begun') AS g
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS done = ROW_COUNT;
        wanted := jsonb_array_length(given -> 'begun');
        IF done <> wanted THEN
            RAISE 'somebody else began % of these streams', wanted - done USING ERRCODE = 'serialization_failure';
        END IF;
    END IF;
    IF given ? 'updated' THEN
        UPDATE holdfast.records AS r SET
            version = (g ->> 4)::bigint, epoch = (g ->> 5)::bigint, owner = g ->> 6, chain = g ->> 7,
            deleted = (g ->> 8)::boolean, status = g ->> 9, due_us = (g ->> 10)::bigint, queue = g ->> 11,
            labels = g -> 12, change_id = g ->> 13, written_us = (g ->> 14)::bigint, digest = g ->> 15, body = g ->> 16
        FROM jsonb_array_elements(given -> 'updated') AS g CROSS JOIN LATERAL (
            SELECT ctid AS place FROM holdfast.records AS x
            WHERE x.kind = g ->> 0 AND x.tenant = g ->> 1 AND x."user" = g ->> 2 AND x.id = g ->> 3 LIMIT 1
        ) AS found
        WHERE r.ctid = found.place;
        GET DIAGNOSTICS done = ROW_COUNT;
        wanted := jsonb_array_length(given -> 'updated');
        IF done <> wanted THEN
            RAISE 'somebody else removed % of these records', wanted - done USING ERRCODE = 'serialization_failure';
        END IF;
    END IF;
    IF given ? 'events' THEN
        INSERT INTO holdfast.events (kind, tenant, "user", id, incarnation, seq, version, name, change_id, at_us,
            previous, digest, body, delta)
        SELECT g ->> 0, g ->> 1, g ->> 2, g ->> 3, (g ->> 4)::bigint, (g ->> 5)::bigint, (g ->> 6)::bigint, g ->> 7,
            g ->> 8, (g ->> 9)::bigint, g ->> 10, g ->> 11, g ->> 12, g ->> 13
        FROM jsonb_array_elements(given -> 'events') AS g;
    END IF;
    IF given ? 'grown' THEN
        UPDATE holdfast.streams AS s SET seq = (g ->> 2)::bigint
        FROM jsonb_array_elements(given -> 'grown') AS g CROSS JOIN LATERAL (
            SELECT ctid AS place FROM holdfast.streams AS x WHERE x.tenant = g ->> 0 AND x."user" = g ->> 1 LIMIT 1
        ) AS found
        WHERE s.ctid = found.place;
    END IF;
    -- What goes, goes last: whoever waits to insert a row that we have deleted then waits for one who waits for nobody.
    IF given ? 'let_go' THEN
        DELETE FROM holdfast.records AS r USING jsonb_array_elements(given -> 'let_go') AS g CROSS JOIN LATERAL (
            SELECT ctid AS place FROM holdfast.records AS x
            WHERE x.kind = g ->> 0 AND x.tenant = g ->> 1 AND x."user" = g ->> 2 AND x.id = g ->> 3 LIMIT 1
        ) AS found
        WHERE r.ctid = found.place;
    END IF;
    -- The rows are locked already; one that came after that, and that somebody holds, is later than this removal.
    IF given ? 'removed' THEN
        DELETE FROM holdfast.records AS r USING jsonb_array_elements(given -> 'removed') AS g CROSS JOIN LATERAL (
            SELECT ctid AS place FROM holdfast.records AS x
            WHERE x.kind = g ->> 0 AND x.tenant = g ->> 1 AND x."user" = g ->> 2 AND x.id >= g ->> 3 AND x.id < g ->> 4
                AND NOT EXISTS (
                    SELECT FROM jsonb_array_elements(given -> 'kept') AS k
                    WHERE k ->> 0 = x.kind AND k ->> 1 = x.tenant AND k ->> 2 = x."user" AND k ->> 3 = x.id
                )
            OFFSET 0 FOR UPDATE SKIP LOCKED
        ) AS found
        WHERE r.ctid = found.place;
    END IF;
    IF given ? 'raised' THEN
        UPDATE holdfast.generations SET value = value + 1 WHERE slot = (given ->> 'raised')::smallint;
    END IF;
END $$;

-- A whole batch that was judged by what its sender remembers. It is written only where all of that is still so, which is
-- seen under the same locks, taken in the same order, as if it had been read: streams, then records by their keys (the
-- sender sorts them), those that a removal will delete among them.
-- Answers the server's time in microseconds, or null where something has moved and nothing was written.
CREATE FUNCTION holdfast.commit_1(document text) RETURNS bigint
LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    given jsonb := document::jsonb;
    seen bigint;
    wanted bigint;
BEGIN
    PERFORM set_config('holdfast.scopes', given ->> 'scopes', true), set_config('role', given ->> 'role', true),
        set_config('lock_timeout', '10s', true);
    IF NOT EXISTS (SELECT FROM holdfast.meta WHERE name = 'incarnation' AND value = (given ->> 'incarnation')::bigint) THEN
        RETURN NULL;
    END IF;
    IF given ? 'counted' THEN
        SELECT count(*) INTO seen FROM jsonb_array_elements(given -> 'counted') AS g CROSS JOIN LATERAL (
            SELECT s.seq FROM holdfast.streams AS s WHERE s.tenant = g ->> 0 AND s."user" = g ->> 1 LIMIT 1 FOR UPDATE
        ) AS locked
        WHERE locked.seq = (g ->> 2)::bigint;
        IF seen <> jsonb_array_length(given -> 'counted') THEN
            RETURN NULL;
        END IF;
    END IF;
    IF given ? 'held' THEN
        SELECT count(*) FILTER (WHERE locked.digest = g ->> 5), count(g ->> 5) INTO seen, wanted
        FROM jsonb_array_elements(given -> 'held') AS g
        LEFT JOIN LATERAL (
            SELECT r.digest FROM holdfast.records AS r
            WHERE g ->> 4 IS NULL AND r.kind = g ->> 0 AND r.tenant = g ->> 1 AND r."user" = g ->> 2 AND r.id = g ->> 3
            LIMIT 1 FOR UPDATE
        ) AS locked ON true
        LEFT JOIN LATERAL (
            SELECT FROM holdfast.records AS r
            WHERE r.kind = g ->> 0 AND r.tenant = g ->> 1 AND r."user" = g ->> 2 AND r.id >= g ->> 3 AND r.id < g ->> 4
            ORDER BY r.id FOR UPDATE
        ) AS behind ON true;
        IF seen <> wanted THEN
            RETURN NULL;
        END IF;
    END IF;
    PERFORM holdfast.write_1(given);
    RETURN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
END $$;
