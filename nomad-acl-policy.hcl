# The least that nomad-firehose needs of a cluster with ACLs. Keep the lines of what you carry:
#
#   nomad acl policy apply -description "nomad-firehose" nomad-firehose nomad-acl-policy.hcl
#   nomad acl token create -name nomad-firehose -policy nomad-firehose
#
# or bind it to the job, so that its workload identity is the token:
#
#   nomad acl policy apply -namespace default -job nomad-firehose nomad-firehose nomad-acl-policy.hcl

# allocations, evaluations, jobs, jobliststubs, deployments. "*" is what NOMAD_NAMESPACE=* needs: a single namespace
# that the token may not read makes Nomad refuse the whole stream. For some namespaces only, write one such block for
# each, and name them in NOMAD_NAMESPACE.
namespace "*" {
  capabilities = [
    "read-job",  # the event stream, every list but that of jobs, and each full job
    "list-jobs", # the list of jobs: jobs and jobliststubs alone need it
  ]
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
