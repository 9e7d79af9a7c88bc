-- Prosody as a peer of the benchmark. Options: https://prosody.im/doc/configure and the pages of the modules.
-- What is not here has Prosody's default. Words with a dollar sign are filled in by prosody.py. No TLS (the
-- benchmark of imcloud has none either), and only the modules that the load needs.
run_as_root = true
data_path = "$folder"
pidfile = "$folder/prosody.pid"
log = { warn = "$folder/prosody.log" }

c2s_interfaces = { "127.0.0.1" }
c2s_ports = { $port }
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
network_settings = { tcp_backlog = 1024 }
authentication = "internal_plain"

modules_enabled = { "saslauth", "mam", "smacks" }
modules_disabled = { "s2s", "s2s_auth_certs", "tls", "offline" }

-- Only what must outlive the process is in the database: users and archives.
default_storage = "memory"
storage = { accounts = "sql", archive = "sql", muc_log = "sql" }
sql = {
  driver = "PostgreSQL",
  host = "$database_host",
  port = $database_port,
  database = "$database",
  username = "$database_user",
}
default_archive_policy = true

VirtualHost "$domain"

Component "$rooms" "muc"
modules_enabled = { "muc_mam" }
muc_room_locking = false
-- Or joining would be half a million presences.
muc_room_default_presence_broadcast = { visitor = false, participant = false, moderator = false }
