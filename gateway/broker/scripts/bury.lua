-- Ends a gateway's lease: its names are released, nothing of it is left.
--
-- KEYS  1 beats  2 dying  3 gateways  4 holds (of that gateway)  5 calls
-- ARGV  1 gateway  2 'dead' if it is to be buried only while it is dying: somebody
--       else may have reaped it, and it may have come back since

if ARGV[2] == 'dead' and not redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[4])
redis.call('HDEL', KEYS[5], ARGV[1])
return 1
