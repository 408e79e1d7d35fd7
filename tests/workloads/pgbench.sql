-- A script of pgbench: sorts, joins, aggregates, regular expressions, and updates.
\set number random(1, 100000)
SELECT bid, count(*), sum(abalance), max(length(filler)) FROM pgbench_accounts WHERE aid % 7 = :number % 7 GROUP BY bid;
SELECT a.aid FROM pgbench_accounts a JOIN pgbench_accounts b ON a.aid = b.aid + 1 WHERE a.aid < 20000
    ORDER BY md5(a.aid::text) LIMIT 10;
UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :number;
SELECT count(*) FROM pgbench_accounts WHERE filler ~ '^ab*c' OR aid::text LIKE '%99%';
