-- Prosody as a peer of the benchmark. Options: https://prosody.im/doc/configure and …/modules/. What is not here
-- has Prosody's default. Words with a dollar sign are filled in by prosody.py. Against Debian's own file: no TLS
-- (the benchmark of imcloud has none either), no limits, and only the modules that the load needs, so that no
-- other one has work with a stanza.
data_path = "$folder/data"
pidfile = "$folder/prosody.pid"
run_as_root = true -- where the benchmark does
log = { warn = "$folder/prosody.log" }

interfaces = { "127.0.0.1" }
c2s_ports = { $port }
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
network_settings = { tcp_backlog = 1024 }

modules_enabled = { "saslauth", "smacks", "mam" }
modules_disabled = { "s2s", "tls", "offline" }

-- Users are rows that the benchmark writes; a plain password is the cheapest to check.
authentication = "internal_plain"
storage = "sql"
sql = {
  driver = "PostgreSQL",
  host = "$database_host",
  port = $database_port,
  database = "$database",
  username = "$database_user",
  password = "",
}

default_archive_policy = true
archive_expires_after = "never"

VirtualHost "$domain"

Component "$rooms" "muc"
  modules_enabled = { "muc_mam" }
  muc_log_by_default = true
  muc_room_default_persistent = true -- or its archive goes with the last one who leaves
  muc_room_locking = false -- nobody configures the room first
  -- Or joining would be half a million presences.
  muc_room_default_presence_broadcast = { visitor = false, participant = false, moderator = false }
