-- One row per definition in the current database, as a JSON array that begins with its kind. Every name is written in
-- full, so search_path must be empty. Nothing here carries an object's number.
WITH own AS (
    SELECT oid, nspname, nspowner, nspacl FROM pg_namespace
    WHERE nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema'
), given AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), rel AS (
    SELECT c.*, format('%I.%I', o.nspname, c.relname) AS name
    FROM pg_class AS c JOIN own AS o ON o.oid = c.relnamespace
    WHERE c.relpersistence <> 't' AND ('pg_class'::regclass, c.oid) NOT IN (SELECT classid, objid FROM given)
)
SELECT jsonb_build_array('schema', nspname, pg_get_userbyid(nspowner),
    (SELECT jsonb_agg(a::text ORDER BY a::text) FROM unnest(coalesce(nspacl, acldefault('n', nspowner))) AS a))::text
FROM own
UNION ALL
SELECT jsonb_build_array('relation', name, relkind, relpersistence, pg_get_userbyid(relowner), reloptions,
    relrowsecurity, relforcerowsecurity, relreplident,
    (SELECT jsonb_agg(a::text ORDER BY a::text)
        FROM unnest(coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))) AS a),
    pg_get_expr(relpartbound, oid), pg_get_partkeydef(oid),
    (SELECT jsonb_agg(inhparent::regclass::text ORDER BY inhseqno) FROM pg_inherits WHERE inhrelid = rel.oid))::text
FROM rel WHERE relkind NOT IN ('i', 'I', 't')
UNION ALL
SELECT jsonb_build_array('column', r.name, row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum), a.attname,
    format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attcollation::regcollation::text,
    pg_get_expr(d.adbin, d.adrelid), a.attacl::text)::text
FROM rel AS r JOIN pg_attribute AS a ON a.attrelid = r.oid
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT jsonb_build_array('constraint', r.name, k.conname, k.convalidated, pg_get_constraintdef(k.oid))::text
FROM rel AS r JOIN pg_constraint AS k ON k.conrelid = r.oid
UNION ALL
SELECT jsonb_build_array('index', r.name, pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisclustered, i.indisreplident)::text
FROM rel AS r JOIN pg_index AS i ON i.indrelid = r.oid
UNION ALL
SELECT jsonb_build_array('view', name, pg_get_viewdef(oid))::text FROM rel WHERE relkind IN ('v', 'm')
UNION ALL
SELECT jsonb_build_array('sequence', r.name, format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin,
    s.seqmax, s.seqcache, s.seqcycle)::text
FROM rel AS r JOIN pg_sequence AS s ON s.seqrelid = r.oid
UNION ALL
SELECT jsonb_build_array('trigger', r.name, t.tgenabled, pg_get_triggerdef(t.oid))::text
FROM rel AS r JOIN pg_trigger AS t ON t.tgrelid = r.oid WHERE NOT t.tgisinternal
UNION ALL
SELECT jsonb_build_array('rule', r.name, w.ev_enabled, pg_get_ruledef(w.oid))::text
FROM rel AS r JOIN pg_rewrite AS w ON w.ev_class = r.oid WHERE w.rulename <> '_RETURN'
UNION ALL
SELECT jsonb_build_array('policy', r.name, p.polname, p.polcmd, p.polpermissive,
    (SELECT jsonb_agg(CASE role WHEN 0 THEN 'public' ELSE pg_get_userbyid(role) END::text) FROM unnest(p.polroles) AS role),
    pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))::text
FROM rel AS r JOIN pg_policy AS p ON p.polrelid = r.oid
UNION ALL
SELECT jsonb_build_array('function', o.nspname, f.proname, f.prokind, pg_get_function_identity_arguments(f.oid),
    pg_get_userbyid(f.proowner), CASE WHEN f.prokind <> 'a' THEN pg_get_functiondef(f.oid) END,
    (SELECT jsonb_agg(a::text ORDER BY a::text) FROM unnest(coalesce(f.proacl, acldefault('f', f.proowner))) AS a))::text
FROM own AS o JOIN pg_proc AS f ON f.pronamespace = o.oid
WHERE ('pg_proc'::regclass, f.oid) NOT IN (SELECT classid, objid FROM given)
UNION ALL
SELECT jsonb_build_array('type', o.nspname, t.typname, t.typtype, pg_get_userbyid(t.typowner), t.typnotnull, t.typdefault,
    CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END,
    (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum AS e WHERE e.enumtypid = t.oid),
    (SELECT jsonb_agg(pg_get_constraintdef(k.oid) ORDER BY k.conname) FROM pg_constraint AS k WHERE k.contypid = t.oid))::text
FROM own AS o JOIN pg_type AS t ON t.typnamespace = o.oid
WHERE t.typtype IN ('e', 'd', 'r') AND ('pg_type'::regclass, t.oid) NOT IN (SELECT classid, objid FROM given)
UNION ALL
SELECT jsonb_build_array('extension', extname, extversion)::text FROM pg_extension
UNION ALL
SELECT jsonb_build_array('event trigger', evtname, evtevent, evtenabled, evttags)::text FROM pg_event_trigger
