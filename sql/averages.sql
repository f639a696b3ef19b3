-- Averages over users of each metric, by method and slice of users.
--
-- Reads: user_metrics. Slices: all; test (held-out users); cold (fewer than 5 news clicks of history); warm (the others);
-- without-history (nothing at all). Gives mean, number of users, sum of squares, and how many of the users were shown the
-- fallback; rr averaged is called mrr. Sums are of decimals, which are the same in whatever order the users come.
WITH
exact AS (
    SELECT
        method, metric, k, split, cold, history, fallback,
        CAST(value AS DECIMAL(38, 18)) AS value, CAST(value * value AS DECIMAL(38, 18)) AS square
    FROM user_metrics
),
slices AS (
    SELECT
        method, metric, k,
        count(*) AS users, coalesce(sum(value), 0) AS total, coalesce(sum(square), 0) AS squares,
        coalesce(sum(CASE WHEN fallback THEN 1 ELSE 0 END), 0) AS fallback,
        sum(CASE WHEN split = 'test' THEN 1 ELSE 0 END) AS test_users,
        sum(CASE WHEN split = 'test' THEN value ELSE 0 END) AS test_total,
        sum(CASE WHEN split = 'test' THEN square ELSE 0 END) AS test_squares,
        sum(CASE WHEN split = 'test' AND fallback THEN 1 ELSE 0 END) AS test_fallback,
        sum(CASE WHEN cold THEN 1 ELSE 0 END) AS cold_users,
        sum(CASE WHEN cold THEN value ELSE 0 END) AS cold_total,
        sum(CASE WHEN cold THEN square ELSE 0 END) AS cold_squares,
        sum(CASE WHEN cold AND fallback THEN 1 ELSE 0 END) AS cold_fallback,
        sum(CASE WHEN history THEN 0 ELSE 1 END) AS new_users,
        sum(CASE WHEN history THEN 0 ELSE value END) AS new_total,
        sum(CASE WHEN history THEN 0 ELSE square END) AS new_squares,
        sum(CASE WHEN fallback AND NOT history THEN 1 ELSE 0 END) AS new_fallback
    FROM exact
    GROUP BY method, metric, k
),
lines AS (
    SELECT method, metric, k, unnest(make_array(
        struct(1, 'all', users, total, squares, fallback),
        struct(2, 'test', test_users, test_total, test_squares, test_fallback),
        struct(3, 'cold', cold_users, cold_total, cold_squares, cold_fallback),
        struct(4, 'warm', users - cold_users, total - cold_total, squares - cold_squares, fallback - cold_fallback),
        struct(5, 'without-history', new_users, new_total, new_squares, new_fallback)
    )) AS line
    FROM slices
),
sums AS (
    SELECT
        method, metric, k, line['c0'] AS position, line['c1'] AS slice,
        line['c2'] AS users, line['c3'] AS total, line['c4'] AS squares, line['c5'] AS fallback
    FROM lines
)
SELECT
    method, slice, metric, k,
    CAST(total AS DOUBLE) / users AS mean, users, CAST(squares AS DOUBLE) AS squares, fallback
FROM sums
WHERE users > 0
ORDER BY method, position, metric, k NULLS LAST
