# ${app_name}, ${environment}. Written by Terraform: change terraform/templates/docker-compose.yml.tpl.
# Over the services of the repository's compose file: which image, which settings, which secrets, which ports.
#   docker compose -f docker-compose.yml -f docker-compose.generated.yml up -d
name: ${app_name}-${environment}

x-instance: &instance
  image: ${image}
  env_file:
    - ${env_file}
  labels:
%{ for name, value in tags ~}
    ${name}: ${jsonencode(value)}
%{ endfor ~}
%{ if length(credentials) > 0 ~}
  secrets:
%{ for name, path in credentials ~}
    - ${name}
%{ endfor ~}
%{ endif ~}

services:
%{ for number in instances ~}
  api-${number}:
    <<: *instance
    environment:
      INSTANCE_ID: API-${number}
%{ for name, path in credentials ~}
      ${upper(name)}_FILE: /run/secrets/${name}
%{ endfor ~}
%{ endfor ~}
  worker:
    <<: *instance
    environment:
      INSTANCE_ID: WORKER-1
%{ for name, path in credentials ~}
      ${upper(name)}_FILE: /run/secrets/${name}
%{ endfor ~}
  nginx:
    ports:
      - "${https_port}:8443"
      - "${http_port}:8080"
      - "127.0.0.1:${app_port}:8000"
%{ if length(credentials) > 0 ~}

secrets:
%{ for name, path in credentials ~}
  ${name}:
    file: ${path}
%{ endfor ~}
%{ endif ~}
