# shellcheck shell=bash
# User, folders, configuration, secrets. What an operator may have written is never overwritten.

install_user() {
  local before=$CHANGED
  put "$LIB/sysusers.d/syncd.conf" 0644 root:root <"$SOURCE/deploy/systemd/sysusers.conf"
  id syncd >/dev/null 2>&1 || change "create user syncd" systemd-sysusers "$LIB/sysusers.d/syncd.conf"
  put "$LIB/tmpfiles.d/syncd.conf" 0644 root:root <"$SOURCE/deploy/systemd/tmpfiles.conf"
  if ((CHANGED > before)) || [[ ! -d $ETC/credentials || ! -d /var/lib/syncd ]]; then
    change "create $ETC and /var/lib/syncd" systemd-tmpfiles --create "$LIB/tmpfiles.d/syncd.conf"
  fi
  for command in syncd sync-monitor; do
    command_script "$command" | put "/usr/local/bin/$command" 0755 root:root
  done
}

command_script() { # NAME
  cat <<SH
#!/bin/sh
# Installed by deploy_sync_system.sh. root becomes the service's user, whom PostgreSQL knows by its peer login. With
# root's HOME libpq would look for certificates where that user may not, and do without TLS, or fail.
[ "\$(id -u)" != 0 ] || HOME=/var/lib/syncd exec setpriv --reuid=syncd --regid=syncd --init-groups --inh-caps=-all $PREFIX/current/bin/$1 "\$@"
exec $PREFIX/current/bin/$1 "\$@"
SH
}

install_config() {
  if [[ ! -e $ETC/syncd.toml ]]; then
    sample_config | put "$ETC/syncd.toml" 0640 root:syncd
  elif [[ -n $LOCAL_POSTGRES && -z $DATABASE_URL_FILE && -z $(how_named) ]]; then # the operator's own file does not
    put_secret database-url <<<'postgresql:///syncd'
  fi
  for file in "$ETC/syncd.toml" "$ETC/syncd.env"; do
    [[ ! -f $file ]] || set_access "$file" 0640 root:syncd
  done
}

sample_config() {
  cat <<TOML
# syncd and sync-monitor read this file at the start and on: systemctl reload syncd sync-monitor
# Every key, and what it means: $PREFIX/current/share/README.md, "Settings". Secrets stand in $ETC/credentials.
TOML
  if [[ -n $LOCAL_POSTGRES ]]; then
    printf '\n[database]\nurl = "postgresql:///syncd"\n'
  else
    printf '\n[database]                     # its url is the credential database-url\n'
  fi
  printf 'schema = "sync"\n\n[sync]\n# interval_seconds = 600\n\n[accounts.emag.main]           # its login are the credentials emag-main-username and emag-main-password\n'
  printf 'base_url = "%s"\n' "${BASE_URL:-https://marketplace-api.emag.ro/api-3}"
}

install_credentials() {
  local file
  [[ -z $USERNAME ]] || put_secret emag-main-username <<<"$USERNAME"
  [[ -z $PASSWORD_FILE ]] || read_secret "$PASSWORD_FILE" "password of ${USERNAME:-the account main}" | put_secret emag-main-password
  [[ -z $DATABASE_URL_FILE ]] || read_secret "$DATABASE_URL_FILE" "database URL" | put_secret database-url
  [[ -s $ETC/credentials/control-token ]] || head -c 24 /dev/urandom | base64 | tr '+/' '-_' | put_secret control-token
  for file in "$ETC"/credentials/*; do
    [[ ! -f $file ]] || set_access "$file" 0640 root:syncd
  done
  install_account_credentials
}

how_named() { # the database: nothing, `local` or `other`
  /usr/bin/python3 -IB "$SOURCE/deploy/lib/look.py" "$ETC"
}

put_secret() { # NAME, the secret on standard input
  local text
  text=$(cat)
  [[ -n $text ]] || fail "$EXIT_FAILED" "found nothing to write into $ETC/credentials/$1, which stays as it is"
  put "$ETC/credentials/$1" 0640 root:syncd <<<"$text"
}

read_secret() { # FILE WHAT: `-` asks at the terminal, or reads standard input
  local secret
  [[ $1 == - ]] || { cat "$1"; return; }
  [[ ! -t 0 ]] || printf '%s: ' "$2" >/dev/tty
  IFS= read -rs secret || true
  [[ ! -t 0 ]] || echo >/dev/tty
  printf '%s\n' "$secret"
}

install_account_credentials() { # accounts whose names the unit does not know: their credentials in a drop-in
  local target=/etc/systemd/system/syncd.service.d/10-credentials.conf name text=''
  for file in "$ETC"/credentials/emag-*-username "$ETC"/credentials/emag-*-password; do
    name=${file##*/}
    [[ -f $file && $name =~ ^emag-[a-z0-9_-]+$ && ! $name =~ ^emag-(main|fbe)-(username|password)$ ]] || continue
    text+="SetCredential=$name:\n"$'\n'"LoadCredential=$name:$file"$'\n' # the first, should the file be taken away
  done
  if [[ -n $text ]]; then
    printf '# Installed by deploy_sync_system.sh, from the files in %s\n[Service]\n%s' "$ETC/credentials" "$text" | put "$target" 0644 root:root
  elif [[ -f $target ]]; then
    change "remove $target" rm -f "$target"
  fi
}
