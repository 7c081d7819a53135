# shellcheck shell=bash
# PostgreSQL: Debian's, set up here where --local-postgres asks for it; and the schema.

local_postgres() { # a cluster that runs, a role and a database of the name syncd, with peer login
  [[ -n $LOCAL_POSTGRES ]] || return 0
  if [[ -n $DATABASE_URL_FILE || $(how_named) == other ]]; then
    say "  a database is named, so none is set up here"
    return 0
  fi
  command -v pg_lsclusters >/dev/null ||
    change "install PostgreSQL" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql
  if [[ -z $(clusters) ]]; then
    change "create a PostgreSQL cluster" pg_createcluster --locale C.UTF-8 "$(newest_postgres)" main
    change "let systemd know of it" systemctl daemon-reload
  fi
  systemctl is-enabled --quiet postgresql.service || change "start PostgreSQL at boot" systemctl enable --quiet postgresql.service
  [[ $(clusters) == *online* ]] || change "start PostgreSQL" start_postgres
  [[ -z $DRY_RUN || $(clusters) == *online* ]] || { changed "create role and database syncd"; return 0; }
  [[ $(ask_postgres "SELECT 1 FROM pg_roles WHERE rolname = 'syncd'") == 1 ]] ||
    change "create role syncd" as_user postgres / createuser syncd
  [[ $(ask_postgres "SELECT 1 FROM pg_database WHERE datname = 'syncd'") == 1 ]] ||
    change "create database syncd" as_user postgres / createdb --owner syncd --encoding UTF8 --locale C.UTF-8 --template template0 syncd
}

clusters() { command -v pg_lsclusters >/dev/null && pg_lsclusters --no-header || true; }

newest_postgres() { find /usr/lib/postgresql -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -n | tail -n 1; }

start_postgres() {
  local version name
  read -r version name _ < <(clusters)
  systemctl start "postgresql@$version-$name.service"
}

ask_postgres() { as_user postgres / psql -XAt -c "$1"; }

migrate() { # with the new release, while the old one still serves; in one transaction, so it is whole or not at all
  local said
  if [[ -n $DRY_RUN ]]; then
    [[ $(current_release current) == "$RELEASE" ]] || changed "bring the schema to this release: syncd migrate, as syncd"
    return 0
  fi
  if ! said=$(as_service "$RELEASE/bin/syncd" migrate 2>&1); then
    complain "$said"
    fail "$EXIT_FAILED" "the schema could not be brought to this release; nothing was switched, what served before serves on"
  fi
  if [[ $said == *"is already at version"* ]]; then
    note "$said"
  else
    changed "$said"
  fi
}
