# vault-unsealer as a Nomad job. The shares are a Nomad variable, the nodes come from Nomad's own services:
#
#   nomad var put -namespace vault-cluster nomad/jobs/vault-unsealer key1=... key2=... key3=...
#
# Run `count` of 1: two unsealers with the same shares do no harm and no good.
job "vault-unsealer" {
  namespace   = "vault-cluster"
  datacenters = ["dc1"]
  type        = "service"
  node_pool   = "vault-servers"

  group "vault-unsealer" {
    count = 1

    network {
      port "http" {}
    }

    task "vault-unsealer" {
      driver = "exec"

      config {
        command = "/usr/local/bin/vault-unsealer"
        args    = ["-config", "${NOMAD_SECRETS_DIR}/config.json"]
        # Memory that is never written to the swap.
        cap_add = ["ipc_lock"]
      }

      # Others on the machine must not read it: the program refuses it otherwise.
      template {
        destination   = "secrets/config.json"
        perms         = "600"
        change_mode   = "signal"
        change_signal = "SIGHUP"
        data          = <<-EOT
          {
            "log_level": "info",
            "probe_interval": 10,
            "listen": "{{ env "NOMAD_IP_http" }}:{{ env "NOMAD_PORT_http" }}",
            "nodes": [
              {{- range $i, $e := nomadService "vault" }}
              {{- if $i }},{{ end }}
              "https://{{ .Address }}:{{ .Port }}"
              {{- end }}
            ],
            "tls": {"ca_cert": "/etc/vault.d/ca.pem"},
            "unseal_keys": [
              {{- with nomadVar "nomad/jobs/vault-unsealer" }}
              "{{ .key1 }}", "{{ .key2 }}", "{{ .key3 }}"
              {{- end }}
            ]
          }
        EOT
      }

      service {
        name     = "vault-unsealer"
        provider = "nomad"
        port     = "http"
        check {
          type     = "http"
          path     = "/health"
          interval = "10s"
          timeout  = "2s"
        }
      }

      resources {
        cpu    = 50
        memory = 64
      }
    }
  }
}
