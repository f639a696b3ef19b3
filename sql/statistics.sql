-- What a dataset is like, in one number per row. The first five rows are the paper's Table 1.
--
-- Reads: profiles twice, news, truth. Averages are per user with a profile. All figures stand in one row first: it is read twenty times, the
-- datasets are not.
WITH
users AS (
    SELECT
        CAST(count(*) AS DOUBLE) AS users,
        coalesce(avg(browse_kept), 0) AS browse_kept, coalesce(avg(search_kept), 0) AS search_kept, coalesce(avg(news_kept), 0) AS news_kept,
        coalesce(avg(browse_clean), 0) AS browse_clean, coalesce(avg(search_clean), 0) AS search_clean, coalesce(avg(news_clean), 0) AS news_clean,
        coalesce(avg(browse_events), 0) AS browse_events, coalesce(avg(search_events), 0) AS search_events, coalesce(avg(news_events), 0) AS news_events,
        CAST(count(*) FILTER (WHERE browse_kept + search_kept + news_kept = 0) AS DOUBLE) AS silent,
        CAST(count(*) FILTER (WHERE news_clicks < 5) AS DOUBLE) AS cold,
        CAST(count(*) FILTER (WHERE split = 'train') AS DOUBLE) AS train,
        CAST(count(*) FILTER (WHERE split = 'valid') AS DOUBLE) AS valid,
        CAST(count(*) FILTER (WHERE split = 'test') AS DOUBLE) AS test
    FROM profiles
),
articles AS (
    SELECT CAST(count(*) AS DOUBLE) AS news, CAST(count(published_at) AS DOUBLE) AS dated FROM news
),
readers AS (
    SELECT clicks.user_id, clicks.clicks, profiles.user_id AS known
    FROM (SELECT user_id, count(*) AS clicks FROM truth GROUP BY user_id) AS clicks
    LEFT JOIN profiles ON clicks.user_id = profiles.user_id
),
window_clicks AS (
    SELECT
        CAST(count(*) AS DOUBLE) AS readers, CAST(count(*) - count(known) AS DOUBLE) AS newcomers,
        CAST(coalesce(sum(clicks), 0) AS DOUBLE) AS clicks
    FROM readers
),
lines AS (
    SELECT unnest(make_array(
        struct(1, '# Users', users),
        struct(2, '# News', news),
        struct(3, 'Avg. browsing events per user', browse_kept),
        struct(4, 'Avg. search queries per user', search_kept),
        struct(5, 'Avg. news clicks per user', news_kept),
        struct(6, 'Avg. browsing events per user, before the cap', browse_clean),
        struct(7, 'Avg. search queries per user, before the cap', search_clean),
        struct(8, 'Avg. news clicks per user, before the cap', news_clean),
        struct(9, 'Avg. browsing events per user, before cleaning', browse_events),
        struct(10, 'Avg. search queries per user, before cleaning', search_events),
        struct(11, 'Avg. news clicks per user, before cleaning', news_events),
        struct(12, '# Users of whom cleaning left nothing', silent),
        struct(13, '# Cold users (fewer than 5 news clicks)', cold),
        struct(14, '# Train users', train),
        struct(15, '# Valid users', valid),
        struct(16, '# Test users', test),
        struct(17, '# News with a publication time', dated),
        struct(18, '# Users with truth', readers),
        struct(19, '# Users with truth but no history', newcomers),
        struct(20, '# Clicks in the truth', clicks)
    )) AS line
    FROM users CROSS JOIN articles CROSS JOIN window_clicks
)
SELECT line['c0'] AS position, line['c1'] AS statistic, line['c2'] AS value FROM lines ORDER BY position
