# The least that nomad-firehose needs of a Nomad cluster with ACLs. Keep the blocks of what you carry.
#
# As a job, its workload identity is the token; bind the policy to the job:
#
#   nomad acl policy apply -namespace default -job nomad-firehose nomad-firehose deploy/policies/nomad.hcl
#
# Anywhere else, make a token. Its Secret ID is NOMAD_TOKEN, or the text of NOMAD_TOKEN_FILE:
#
#   nomad acl policy apply nomad-firehose deploy/policies/nomad.hcl
#   nomad acl token create -name nomad-firehose -policy nomad-firehose

# allocations, evaluations, jobs, jobliststubs, deployments. "*" is what NOMAD_NAMESPACE=* needs: a single namespace
# that the token may not read makes Nomad refuse the whole stream. For some namespaces only, write one such block for
# each, and name them in NOMAD_NAMESPACE.
namespace "*" {
  capabilities = [
    "read-job",  # the event stream, every list but that of jobs, and each full job
    "list-jobs", # the list of jobs: jobs and jobliststubs alone need it
  ]
}

# The coordinator nomad: leases and checkpoints in Variables (NOMAD_FIREHOSE_NOMAD_VAR_PREFIX and _NAMESPACE). For the namespace
# that it names, this block stands in the place of that of "*", so it needs the same capabilities.
namespace "default" {
  capabilities = ["read-job", "list-jobs"]

  variables {
    path "nomad-firehose/*" {
      capabilities = ["read", "write", "list", "destroy"]
    }
  }
}

# nodes.
node {
  policy = "read"
}

# events: each topic needs what Nomad asks for it.
#   Job, Allocation, Evaluation, Deployment, Service, CSIPlugin   read-job, as above
#   Node                                                          node read, as above
#   HostVolume                                                    namespace capability "host-volume-read"
#   CSIVolume                                                     namespace capability "csi-read-volume"
#   Operator                                                      operator { policy = "read" }
#   Variable                                                      a variables block in the namespace
#   NodePool, the ACL topics, and * (which is the default)        a management token; no policy can grant them
