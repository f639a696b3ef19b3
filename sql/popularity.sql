-- Clicks per article before the cut-off, all users together.
--
-- Reads: clean_events.
SELECT news_id, count(*) AS clicks
FROM clean_events
WHERE domain = 'news' AND news_id IS NOT NULL
GROUP BY news_id
ORDER BY news_id
