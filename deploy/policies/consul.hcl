# The least that nomad-firehose needs of Consul with ACLs. docs/deployment.md shows how a
# Nomad job gets its token by itself.
#
#   consul acl policy create -name nomad-firehose -rules @deploy/policies/consul.hcl
#   consul acl token create -description nomad-firehose -policy-name nomad-firehose
#
# The token's SecretID is CONSUL_HTTP_TOKEN, or the text of CONSUL_HTTP_TOKEN_FILE.

# Locks, heartbeats and checkpoints: read, written and removed. It is NOMAD_FIREHOSE_CONSUL_PREFIX with a / behind it.
key_prefix "nomad-firehose/" { policy = "write" }

# The session that a lock hangs on: made, renewed and ended. Consul asks for the right on the name of the node whose agent
# is spoken to. "" is every node; where the program only ever speaks to some, name those, or what their names begin with:
#
#   session "node-1" { policy = "write" }
session_prefix "" { policy = "write" }
