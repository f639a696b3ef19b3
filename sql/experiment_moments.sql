-- What each day adds to an experiment's moments, by metric, segment and variant.
--
-- Reads (one user bucket at a time): user_days, a row per user and day, in this order, with what the user did until and on that day
-- (all_active, all_impressions, all_clicks), whether it is their first one (entered), and whether it is there again; users, a row per user. Users
-- are numbers. See schemas/experiment_moments.rs for n, d, p and q. With S what a user did until a day, and x what they did on it, the day adds
-- S² − (S − x)² to the sum of squares: only days with rows count, and the past is added on a user's first day.
WITH
visits AS (
    SELECT
        users.variant, users.cold, user_days.day, user_days.entered, user_days.again,
        CAST(user_days.active AS DOUBLE) AS active,
        CAST(user_days.impressions AS DOUBLE) AS impressions,
        CAST(user_days.clicks AS DOUBLE) AS clicks,
        CAST(user_days.all_active AS DOUBLE) AS all_active,
        CAST(user_days.all_impressions AS DOUBLE) AS all_impressions,
        CAST(user_days.all_clicks AS DOUBLE) AS all_clicks,
        CAST(users.pre_active AS DOUBLE) AS pre_active,
        CAST(users.pre_impressions AS DOUBLE) AS pre_impressions,
        CAST(users.pre_clicks AS DOUBLE) AS pre_clicks
    FROM user_days JOIN users ON user_days."user" = users."user"
),
days AS (
    SELECT
        cold, variant, day,
        sum(entered) AS users, CAST(sum(entered) AS DOUBLE) AS u, sum(again) AS again,
        sum(active) AS a, sum(impressions) AS i, sum(clicks) AS c,
        sum(entered * pre_active) AS pa, sum(entered * pre_impressions) AS pi, sum(entered * pre_clicks) AS pc,
        sum(active * (2 * all_active - active)) AS a_a,
        sum(impressions * (2 * all_impressions - impressions)) AS i_i,
        sum(clicks * (2 * all_clicks - clicks)) AS c_c,
        sum(clicks * all_impressions + impressions * all_clicks - clicks * impressions) AS c_i,
        sum(active * pre_active) AS a_pa,
        sum(clicks * pre_clicks) AS c_pc, sum(clicks * pre_impressions) AS c_pi,
        sum(impressions * pre_clicks) AS i_pc, sum(impressions * pre_impressions) AS i_pi,
        sum(entered * pre_active * pre_active) AS pa_pa,
        sum(entered * pre_clicks * pre_clicks) AS pc_pc,
        sum(entered * pre_clicks * pre_impressions) AS pc_pi,
        sum(entered * pre_impressions * pre_impressions) AS pi_pi
    FROM visits
    GROUP BY cold, variant, day
),
lines AS (
    SELECT cold, variant, day, users, again, unnest(make_array(
        struct(
            'dau', a, u, pa, u,
            a_a, a, a_pa, a, u, pa, u,
            pa_pa, pa, u
        ),
        struct(
            'ctr', c, i, pc, pi,
            c_c, c_i, c_pc, c_pi, i_i, i_pc, i_pi,
            pc_pc, pc_pi, pi_pi
        )
    )) AS line
    FROM days
)
SELECT
    line['c0'] AS metric, cold, variant, day, users, again,
    line['c1'] AS n, line['c2'] AS d, line['c3'] AS p, line['c4'] AS q,
    line['c5'] AS nn, line['c6'] AS nd, line['c7'] AS np, line['c8'] AS nq, line['c9'] AS dd, line['c10'] AS dp, line['c11'] AS dq,
    line['c12'] AS pp, line['c13'] AS pq, line['c14'] AS qq
FROM lines
ORDER BY metric, cold, variant, day
