# As nomad-firehose.nomad.hcl, with Vector beside each replica: the leader sends to the Vector of its own allocation, and Vector
# writes to Loki. A record counts as delivered once Loki has it. See docs/vector-loki.md.
#
#   nomad job run -var loki=http://loki.example.com:3100 nomad-firehose-vector.nomad.hcl
#
# With ACLs, first give the job its rights: see docs/deployment.md#with-acls-in-nomad.

variable "datacenters" {
  type        = list(string)
  default     = ["*"]
  description = "Datacenters that the replicas can run in"
}

variable "distinct_hosts" {
  type        = bool
  default     = true
  description = "Whether each replica needs a machine of its own. Set it to false for a dev agent, which is one machine"
}

variable "driver" {
  type        = string
  default     = "docker"
  description = "Task driver: docker, exec or raw_exec"

  validation {
    condition     = contains(["docker", "exec", "raw_exec"], var.driver)
    error_message = "The driver is docker, exec or raw_exec."
  }
}

variable "image" {
  type        = string
  default     = "nomad-firehose:0.1.0"
  description = "Image of nomad-firehose, for the driver docker"
}

variable "vector_image" {
  type        = string
  default     = "timberio/vector:0.50.0-debian"
  description = "Image of Vector, for the driver docker"
}

variable "binary" {
  type        = string
  default     = "/usr/bin/nomad-firehose"
  description = "Path of nomad-firehose on the client, for the drivers exec and raw_exec"
}

variable "vector_binary" {
  type        = string
  default     = "/usr/bin/vector"
  description = "Path of Vector on the client, for the drivers exec and raw_exec"
}

variable "args" {
  type        = list(string)
  default     = ["run", "--resources", "allocations,evaluations,jobs,deployments,nodes"]
  description = "Subcommand, and what it carries"
}

variable "coordinator" {
  type        = string
  default     = "consul"
  description = "What keeps leases and checkpoints: consul, or nomad, which are Variables of this cluster"

  validation {
    condition     = contains(["consul", "nomad"], var.coordinator)
    error_message = "The coordinator is consul or nomad."
  }
}

variable "consul_address" {
  type        = string
  default     = "127.0.0.1:8500"
  description = "Address of the Consul agent, as each replica reaches it"
}

variable "consul_identity" {
  type        = bool
  default     = false
  description = "Whether Nomad gets a Consul token for each replica by its workload identity. Needed if Consul has ACLs"
}

variable "service_provider" {
  type        = string
  default     = "consul"
  description = "Where the service and its checks are registered: consul or nomad"

  validation {
    condition     = contains(["consul", "nomad"], var.service_provider)
    error_message = "The provider is consul or nomad."
  }
}

variable "loki" {
  type        = string
  default     = "http://127.0.0.1:3100"
  description = "Address of Loki, as each replica reaches it"
}

variable "cluster" {
  type        = string
  default     = "nomad"
  description = "Label of this cluster in Loki"
}

job "nomad-firehose" {
  datacenters = var.datacenters
  type        = "service"
  priority    = 80

  update {
    max_parallel      = 1
    health_check      = "checks"
    min_healthy_time  = "10s"
    healthy_deadline  = "3m"
    progress_deadline = "10m"
    auto_revert       = true
    canary            = 0
  }

  group "firehose" {
    count = 3

    dynamic "constraint" {
      for_each = var.distinct_hosts ? [true] : []
      content {
        operator = "distinct_hosts"
        value    = "true"
      }
    }

    spread {
      attribute = "${node.datacenter}"
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "10s"
      mode     = "fail"
    }

    reschedule {
      delay          = "30s"
      delay_function = "exponential"
      max_delay      = "10m"
      unlimited      = true
    }

    network {
      port "status" {}
      port "vector" {}
    }

    service {
      name     = "nomad-firehose"
      provider = var.service_provider
      port     = "status"
      tags     = ["metrics"]

      check {
        name     = "live"
        type     = "http"
        path     = "/health/live"
        interval = "10s"
        timeout  = "3s"

        check_restart {
          limit = 3
          grace = "60s"
        }
      }

      check {
        name     = "ready"
        type     = "http"
        path     = "/health/ready"
        interval = "10s"
        timeout  = "3s"
      }
    }

    task "firehose" {
      driver = var.driver

      # It is stopped first, so that what it delivers at its end still reaches Vector.
      leader = true

      config {
        image        = var.driver == "docker" ? var.image : null
        network_mode = var.driver == "docker" ? "host" : null
        command      = var.driver == "docker" ? null : var.binary
        args         = var.args
      }

      identity {
        file        = true
        change_mode = "noop"
      }

      dynamic "consul" {
        for_each = var.consul_identity ? [true] : []
        content {}
      }

      env = {
        NOMAD_ADDR      = "unix://${NOMAD_SECRETS_DIR}/api.sock"
        NOMAD_NAMESPACE = "*"

        NOMAD_FIREHOSE_COORDINATOR    = var.coordinator
        CONSUL_HTTP_ADDR              = var.consul_address # not read with the coordinator nomad
        NOMAD_FIREHOSE_LISTEN         = "${NOMAD_ADDR_status}"
        NOMAD_FIREHOSE_SHUTDOWN_GRACE = "20s"
        NOMAD_FIREHOSE_CLUSTER        = var.cluster
        LOG_FORMAT                    = "json"

        SINK_TYPE             = "http"
        SINK_HTTP_ADDRESS     = "http://${NOMAD_ADDR_vector}/nomad"
        SINK_HTTP_FORMAT      = "ndjson"
        SINK_HTTP_COMPRESSION = "gzip"
        SINK_HTTP_TIMEOUT     = "60s" # Vector answers when Loki has the batch
      }

      kill_signal  = "SIGTERM"
      kill_timeout = "25s"

      resources {
        cpu    = 200
        memory = 256
      }
    }

    # Starts before the firehose.
    task "vector" {
      driver = var.driver

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        image        = var.driver == "docker" ? var.vector_image : null
        network_mode = var.driver == "docker" ? "host" : null
        command      = var.driver == "docker" ? null : var.vector_binary
        args         = ["--config", "${NOMAD_TASK_DIR}/vector.yaml"]
      }

      env {
        LOKI = var.loki
      }

      template {
        destination     = "${NOMAD_TASK_DIR}/vector.yaml"
        left_delimiter  = "[["
        right_delimiter = "]]"
        data            = <<-EOT
          data_dir: "[[ env "NOMAD_ALLOC_DIR" ]]/data"

          # Without it, Vector answers before Loki has the batch, and a crash loses it.
          acknowledgements:
            enabled: true

          sources:
            nomad:
              type: http_server
              address: "[[ env "NOMAD_ADDR_vector" ]]"
              path: /nomad
              headers:
                - X-Nomad-Firehose-Kind
                - X-Nomad-Firehose-Cluster
              framing:
                method: newline_delimited
              decoding:
                codec: json

          transforms:
            nomad_labelled:
              type: remap
              inputs: [nomad]
              source: |
                .namespace = string(.Namespace) ?? ""
                .cluster = string(."X-Nomad-Firehose-Cluster") ?? "nomad"

          sinks:
            loki:
              type: loki
              inputs: [nomad_labelled]
              endpoint: "[[ env "LOKI" ]]"
              encoding:
                codec: json
              labels:
                source: nomad-firehose
                cluster: "{{ cluster }}"
                namespace: "{{ namespace }}"
              out_of_order_action: accept
        EOT
      }

      kill_timeout = "25s"

      resources {
        cpu    = 200
        memory = 256
      }
    }
  }
}
