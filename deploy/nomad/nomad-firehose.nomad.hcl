# Three replicas of nomad-firehose: one leads and delivers, two stand by. They elect the leader through Consul, or without it, with
# -var coordinator=nomad -var service_provider=nomad, through Variables of the cluster itself.
#
#   nomad job run -var 'sink={SINK_TYPE="http",SINK_HTTP_ADDRESS="http://vector.example.com:8080/nomad"}' nomad-firehose.nomad.hcl
#
# Passwords do not belong in a job: put them into the Nomad variable of this job, from where they become environment variables:
#
#   nomad var put nomad/jobs/nomad-firehose SINK_AMQP_CONNECTION=amqp://user:password@rabbitmq.example.com:5672/
#
# With ACLs, first give the job its rights: see docs/deployment.md#with-acls-in-nomad.

variable "datacenters" {
  type        = list(string)
  default     = ["*"]
  description = "Datacenters that the replicas can run in"
}

variable "namespace" {
  type        = string
  default     = "default"
  description = "Namespace that the job runs in. The events come from all namespaces, see nomad_namespace"
}

variable "replicas" {
  type        = number
  default     = 3
  description = "Number of replicas"
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
  description = "Image, for the driver docker"
}

variable "binary" {
  type        = string
  default     = "/usr/bin/nomad-firehose"
  description = "Path of the program on the client, for the drivers exec and raw_exec. The package installs it there"
}

variable "args" {
  type        = list(string)
  default     = ["run", "--resources", "allocations,evaluations,jobs,deployments,nodes"]
  description = "Subcommand, and what it carries"
}

variable "nomad_namespace" {
  type        = string
  default     = "*"
  description = "Namespaces whose events are carried, separated by commas; * is all"
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

variable "sink" {
  type        = map(string)
  default     = { SINK_TYPE = "stdout" }
  description = "Settings of the sink, and any other setting, by the names of their environment variables"
}

variable "memory" {
  type        = number
  default     = 256
  description = "Memory of a replica, in MiB. It is enough for the default window and standby buffer"
}

job "nomad-firehose" {
  datacenters = var.datacenters
  namespace   = var.namespace
  type        = "service"
  priority    = 80

  # One replica at a time, and only once the one before is ready: the others have a leader all the while. A standby is ready.
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
    count = var.replicas

    # Two replicas on one machine would end together.
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

    # The program retries by itself for as long as Nomad, Consul or the sink is down. So an exit is unusual: a wrong setting, or a
    # machine without memory. Restart, and try another machine if that does not help.
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
    }

    service {
      name     = "nomad-firehose"
      provider = var.service_provider
      port     = "status"
      tags     = ["metrics"]

      # The process makes progress. Only a restart helps one that does not.
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

      # It leads and delivers, or stands by. A restart does not help a leader whose sink is down, so there is none here.
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

      config {
        image        = var.driver == "docker" ? var.image : null
        network_mode = var.driver == "docker" ? "host" : null
        command      = var.driver == "docker" ? null : var.binary
        args         = var.args
      }

      # The workload identity of the task is its Nomad token. The program reads the file again for each request, so a renewal
      # needs neither a signal nor a restart.
      identity {
        file        = true
        change_mode = "noop"
      }

      # Its Consul token, by an identity of its own: Nomad sets CONSUL_HTTP_TOKEN.
      dynamic "consul" {
        for_each = var.consul_identity ? [true] : []
        content {}
      }

      env = merge({
        # The API of the agent on this machine. It needs neither an address nor certificates.
        NOMAD_ADDR      = "unix://${NOMAD_SECRETS_DIR}/api.sock"
        NOMAD_NAMESPACE = var.nomad_namespace

        NOMAD_FIREHOSE_COORDINATOR    = var.coordinator
        CONSUL_HTTP_ADDR              = var.consul_address # not read with the coordinator nomad
        NOMAD_FIREHOSE_LISTEN         = "${NOMAD_ADDR_status}"
        NOMAD_FIREHOSE_SHUTDOWN_GRACE = "20s"
        LOG_FORMAT                    = "json"
      }, var.sink)

      # Passwords, from the Nomad variable of this job. If it changes, the replicas restart.
      template {
        data        = <<-EOT
          {{- if nomadVarExists "nomad/jobs/nomad-firehose" }}
          {{- with nomadVar "nomad/jobs/nomad-firehose" }}
          {{- range .Tuples }}
          {{ .K }}={{ .V | toJSON }}
          {{- end }}
          {{- end }}
          {{- end }}
        EOT
        destination = "${NOMAD_SECRETS_DIR}/sink.env"
        perms       = "0600"
        env         = true
        change_mode = "restart"
      }

      # It stops cleanly on SIGTERM: it delivers what it has read, stores the checkpoint and hands the lease over, within
      # NOMAD_FIREHOSE_SHUTDOWN_GRACE. Nomad's clients allow at most 30s here, unless max_kill_timeout says more.
      kill_signal  = "SIGTERM"
      kill_timeout = "25s"

      resources {
        cpu    = 200
        memory = var.memory
      }

      logs {
        max_files     = 5
        max_file_size = 10
      }
    }
  }
}
