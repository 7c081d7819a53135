# shellcheck shell=bash
# Taking it away: --uninstall leaves what holds somebody's work, --purge leaves what it names.

uninstall() {
  local unit
  for unit in sync-monitor-prune.timer sync-monitor-prune.service "${SERVICES[@]}"; do
    [[ -z $(ours "$unit") ]] || change "stop and disable $unit" stop_unit "$unit"
  done
  for path in "${UNIT_FILES[@]/#/$LIB/systemd/system/}" "$LIB/sysusers.d/syncd.conf" "$LIB/tmpfiles.d/syncd.conf" \
    /etc/systemd/system/syncd.service.d/10-credentials.conf /usr/local/bin/syncd /usr/local/bin/sync-monitor "$PREFIX"; do
    [[ ! -e $path && ! -L $path ]] || change "remove $path" rm -rf "$path"
  done
  [[ ! -e $LIB/systemd/catalog/syncd.catalog ]] || change "remove our entries from the journal's catalog" remove_catalog
  change_quietly systemctl daemon-reload
  change_quietly systemctl reset-failed "${SERVICES[@]}"
  change_quietly rmdir --ignore-fail-on-non-empty /etc/systemd/system/syncd.service.d "$LIB"/{systemd/{system,catalog,},sysusers.d,tmpfiles.d}
}

ours() { [[ ! -f $LIB/systemd/system/$1 ]] || echo "$1"; } # UNIT

stop_unit() { systemctl disable --quiet --now "$1"; } # UNIT

remove_catalog() {
  rm -f "$LIB/systemd/catalog/syncd.catalog"
  journalctl --update-catalog
}

change_quietly() { # what is no change that somebody counts, and may fail
  [[ -n $DRY_RUN ]] || "$@" >/dev/null 2>&1 || true
}

say_what_stays() {
  say "left: $ETC, /var/lib/syncd, the user syncd, the database, $LOG, the journal. --purge removes all but the last three."
}

purge() {
  confirm "This deletes $ETC with its credentials, /var/lib/syncd and the user syncd${DROP_DATABASE:+, and the local database syncd with all offers}."
  uninstall
  [[ -z $DROP_DATABASE ]] || drop_database
  for path in "$ETC" /var/lib/syncd /run/syncd /etc/systemd/system/{syncd,sync-monitor,sync-monitor-prune}.service.d \
    /var/lib/systemd/timers/stamp-sync-monitor-prune.timer; do
    [[ ! -e $path ]] || change "remove $path" rm -rf "$path"
  done
  ! id syncd >/dev/null 2>&1 || change "remove user syncd" userdel syncd
  change_quietly groupdel syncd # userdel takes it along where nobody else is in it
  change_quietly systemctl daemon-reload
  if [[ -n $DROP_DATABASE ]]; then
    say "left: $LOG and the journal. PostgreSQL itself stays, too, where --local-postgres has set it up."
  else
    say "left: the database and its role, PostgreSQL itself, $LOG and the journal."
  fi
}

drop_database() {
  if command -v psql >/dev/null && [[ $(ask_postgres "SELECT 1 FROM pg_database WHERE datname = 'syncd'") == 1 ]]; then
    change "drop database and role syncd" drop_local_database
  else
    complain "there is no local database syncd; one elsewhere is yours to drop"
  fi
}

drop_local_database() { as_user postgres / dropdb --force syncd && as_user postgres / dropuser syncd; }

confirm() { # TEXT
  local answer=''
  [[ -z $YES && -z $DRY_RUN ]] || return 0
  [[ -t 0 ]] || fail "$EXIT_USAGE" "$1 Say --yes."
  printf '%s\nType "purge" to go on: ' "$1"
  read -r answer
  [[ $answer == purge ]] || fail "$EXIT_USAGE" "nothing was changed"
}
