-- What every user of an experiment did in it, and what makes no sense about them.
--
-- Reads (one user bucket at a time): user_days, a row per user and day, users as numbers in the order of their ids; active and cold are 0 or 1, what is not known of the time before the
-- experiment is null.
-- Gives a row per user. A user is cold if they were on their first day. The last four columns are true of users whose rows contradict each
-- other: in two variants, with two values of the time before; whose `cold` changes; of whom nothing before is known.
SELECT
    "user", min(variant) AS variant,
    min(2 * CAST(day AS BIGINT) + cold) & 1 = 1 AS cold,
    count(*) AS days, sum(active) AS active, sum(impressions) AS impressions, sum(clicks) AS clicks,
    coalesce(max(pre_active), 0) AS pre_active,
    coalesce(max(pre_impressions), 0) AS pre_impressions,
    coalesce(max(pre_clicks), 0) AS pre_clicks,
    min(variant) <> max(variant) AS in_two_variants,
    coalesce(min(pre_active) <> max(pre_active), false)
        OR coalesce(min(pre_impressions) <> max(pre_impressions), false)
        OR coalesce(min(pre_clicks) <> max(pre_clicks), false) AS with_two_pasts,
    min(cold) <> max(cold) AS warmed,
    count(pre_active) + count(pre_impressions) + count(pre_clicks) = 0 AS without_past
FROM user_days
GROUP BY "user"
ORDER BY "user"
