# A snapshot of Vault every night, on a node that is not one of Vault's own. It logs in with the identity that Nomad
# gives to the task: no secret stands in this file. docs/vault-snapshot.md has the policy and the role that it needs.

job "vault-backup" {
  namespace   = "vault-cluster"
  datacenters = ["dc1"]
  type        = "batch"
  node_pool   = "vault-backup"

  periodic {
    crons            = ["0 0 * * *"]
    prohibit_overlap = true
  }

  group "vault-backup" {
    count = 1

    constraint {
      attribute = "${node.class}"
      value     = "vault-backup"
    }

    volume "vault_data" {
      type      = "host"
      source    = "vault_vol"
      read_only = false
    }

    task "vault-backup" {
      driver = "docker"

      volume_mount {
        volume      = "vault_data"
        destination = "/vault/file"
        read_only   = false
      }

      config {
        image   = "registry.example.com/vault-snapshot:0.1.0"
        command = "vault-snapshot"
        args    = ["run", "-config", "/local/vault-snapshot.yaml"]
      }

      template {
        destination = "local/vault-snapshot.yaml"
        change_mode = "noop"
        data        = <<EOF
vault:
  addresses:
{{- range nomadService "vault" }}
    - "https://{{ .Address }}:{{ .Port }}"
{{- end }}
  auth:
    method: jwt
    role: snapshot
    jwt: "${JWT}"
  tls:
    ca_file: /local/vault-ca.pem
destinations:
  - name: disk
    type: directory
    path: /vault/file/snapshots
retention:
  daily: 14
  weekly: 8
  monthly: 12
encryption:
  recipients: ["age1..."] # your public key: `age-keygen` makes one
EOF
      }

      template {
        destination = "local/vault-ca.pem"
        change_mode = "noop"
        data        = "{{ with nomadVar \"nomad/jobs/vault-backup\" }}{{ .vault_ca }}{{ end }}"
      }

      identity {
        env = true
      }

      env {
        JWT = "${NOMAD_TOKEN}"
      }

      resources {
        cpu    = 200
        memory = 128
      }
    }
  }
}
