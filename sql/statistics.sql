-- What a dataset is like, in one number per row. The first five rows are the paper's Table 1.
--
-- Reads: profiles, news, truth. Averages are per user with a profile.
WITH
users AS (
    SELECT
        count(*) AS users,
        coalesce(avg(browse_kept), 0) AS browse_kept, coalesce(avg(search_kept), 0) AS search_kept, coalesce(avg(news_kept), 0) AS news_kept,
        coalesce(avg(browse_clean), 0) AS browse_clean, coalesce(avg(search_clean), 0) AS search_clean, coalesce(avg(news_clean), 0) AS news_clean,
        coalesce(avg(browse_events), 0) AS browse_events, coalesce(avg(search_events), 0) AS search_events, coalesce(avg(news_events), 0) AS news_events,
        coalesce(sum(CASE WHEN browse_kept + search_kept + news_kept = 0 THEN 1 ELSE 0 END), 0) AS silent,
        coalesce(sum(CASE WHEN news_clicks < 5 THEN 1 ELSE 0 END), 0) AS cold,
        coalesce(sum(CASE WHEN split = 'train' THEN 1 ELSE 0 END), 0) AS train,
        coalesce(sum(CASE WHEN split = 'valid' THEN 1 ELSE 0 END), 0) AS valid,
        coalesce(sum(CASE WHEN split = 'test' THEN 1 ELSE 0 END), 0) AS test
    FROM profiles
),
articles AS (
    SELECT count(*) AS news, count(published_at) AS dated FROM news
),
readers AS (
    SELECT user_id, count(*) AS clicks FROM truth GROUP BY user_id
),
window_clicks AS (
    SELECT count(*) AS readers, coalesce(sum(clicks), 0) AS clicks FROM readers
),
newcomers AS (
    SELECT count(*) AS readers FROM readers LEFT ANTI JOIN profiles ON readers.user_id = profiles.user_id
)
SELECT 1 AS position, '# Users' AS statistic, CAST(users AS DOUBLE) AS value FROM users
UNION ALL SELECT 2, '# News', CAST(news AS DOUBLE) FROM articles
UNION ALL SELECT 3, 'Avg. browsing events per user', browse_kept FROM users
UNION ALL SELECT 4, 'Avg. search queries per user', search_kept FROM users
UNION ALL SELECT 5, 'Avg. news clicks per user', news_kept FROM users
UNION ALL SELECT 6, 'Avg. browsing events per user, before the cap', browse_clean FROM users
UNION ALL SELECT 7, 'Avg. search queries per user, before the cap', search_clean FROM users
UNION ALL SELECT 8, 'Avg. news clicks per user, before the cap', news_clean FROM users
UNION ALL SELECT 9, 'Avg. browsing events per user, before cleaning', browse_events FROM users
UNION ALL SELECT 10, 'Avg. search queries per user, before cleaning', search_events FROM users
UNION ALL SELECT 11, 'Avg. news clicks per user, before cleaning', news_events FROM users
UNION ALL SELECT 12, '# Users of whom cleaning left nothing', CAST(silent AS DOUBLE) FROM users
UNION ALL SELECT 13, '# Cold users (fewer than 5 news clicks)', CAST(cold AS DOUBLE) FROM users
UNION ALL SELECT 14, '# Train users', CAST(train AS DOUBLE) FROM users
UNION ALL SELECT 15, '# Valid users', CAST(valid AS DOUBLE) FROM users
UNION ALL SELECT 16, '# Test users', CAST(test AS DOUBLE) FROM users
UNION ALL SELECT 17, '# News with a publication time', CAST(dated AS DOUBLE) FROM articles
UNION ALL SELECT 18, '# Users with truth', CAST(readers AS DOUBLE) FROM window_clicks
UNION ALL SELECT 19, '# Users with truth but no history', CAST(readers AS DOUBLE) FROM newcomers
UNION ALL SELECT 20, '# Clicks in the truth', CAST(clicks AS DOUBLE) FROM window_clicks
ORDER BY position
