# shellcheck shell=bash
# Units, the journal's catalog, starting, and finding out whether what was started is well.

UNIT_FILES=(syncd.service sync-monitor.service sync-monitor-prune.service sync-monitor-prune.timer)
SERVICES=(syncd.service sync-monitor.service)
STARTED=() # by this run: only these are asked how they started, which others may have done a year ago

replace_old_units() {
  local unit path
  [[ -n $REPLACE_OLD ]] || return 0
  for unit in "${UNITS[@]}"; do
    path=$(old_unit "$unit")
    [[ -n $path ]] || continue
    change "keep a copy of $path in $ETC/replaced" keep_copy "$path"
    change "stop and disable the old $unit" systemctl disable --now "$unit"
    [[ $path == /lib/* ]] || change "remove $path" rm -f "$path"
    change "let systemd forget it" systemctl daemon-reload
  done
}

keep_copy() { # PATH
  mkdir -p "$ETC/replaced"
  cp -p"$([[ -f $1 ]] && echo L || echo P)" "$1" "$ETC/replaced/${1##*/}.$(date -u +%Y%m%dT%H%M%SZ)"
}

install_units() { # FOLDER with them
  local before=$CHANGED
  for unit in "${UNIT_FILES[@]}"; do
    put "$LIB/systemd/system/$unit" 0644 root:root <"$1/$unit"
  done
  if ((CHANGED > before)) || needs_reload; then
    change "tell systemd" systemctl daemon-reload
  fi
  before=$CHANGED
  put "$LIB/systemd/catalog/syncd.catalog" 0644 root:root <"$1/syncd.catalog"
  ((CHANGED == before)) || change "update the journal's catalog" journalctl --update-catalog
}

needs_reload() { # a drop-in was written, say
  local unit
  for unit in "${SERVICES[@]}"; do
    [[ $(systemctl show -P NeedDaemonReload "$unit") != yes ]] || return 0
  done
  return 1
}

enable_units() {
  local unit
  for unit in "${SERVICES[@]}" sync-monitor-prune.timer; do
    systemctl is-enabled --quiet "$unit" 2>/dev/null || change "enable $unit" systemctl enable --quiet "$unit"
  done
  systemctl is-active --quiet sync-monitor-prune.timer || change "start sync-monitor-prune.timer" systemctl start sync-monitor-prune.timer
}

start_services() { # [always]: restarted where something has changed, started where they do not run; 1 says one is not ready
  local unit
  for unit in "${SERVICES[@]}"; do
    if [[ -z ${1:-} ]] && systemctl is-active --quiet "$unit" && runs_current "$unit"; then
      continue
    fi
    changed "start $unit"
    STARTED+=("$unit")
    [[ -z $DRY_RUN ]] || continue
    systemctl reset-failed "$unit" 2>/dev/null || true # a crash loop may have used up the start limit
    # the start of a Type=notify unit is over when it says READY, or has ended without
    if ! quietly timeout "$READY_SECONDS" systemctl restart "$unit"; then
      why_not_ready "$unit"
      return 1
    fi
  done
}

runs_current() { # UNIT: whether its process is of the release that current points to; one that was interrupted left another
  local pid python
  pid=$(systemctl show -P MainPID "$1")
  read -r -d '' python <"/proc/$pid/cmdline" || true
  [[ $python == "$(current_release current)"/* ]]
}

why_not_ready() { # UNIT: its state and its last words
  local state result
  state=$(systemctl show -P ActiveState "$1") result=$(systemctl show -P Result "$1")
  complain "$1 did not become ready within $READY_SECONDS s: it is $state ($result). It said:"
  journalctl --quiet --no-pager --output cat --lines 10 _SYSTEMD_UNIT="$1" | sed 's/^/    /' | tee -a "$LOG" >&2
}

verify() { # 1: something of ours is not well
  local unit
  [[ -z $DRY_RUN ]] || return 0
  for unit in "${SERVICES[@]}"; do
    systemctl is-active --quiet "$unit" || { complain "$unit is $(systemctl is-active "$unit" || true)"; return 1; }
  done
  for unit in "${STARTED[@]}"; do
    [[ $(systemctl show -P NRestarts "$unit") == 0 ]] || { complain "$unit was started again by systemd"; return 1; }
  done
  verify_ports || return 1
  verify_journal || return 1
  note_served
  say "  both services are active and ready, the metrics are there${STARTED[*]:+, the journal has their lines}"
}

verify_ports() {
  local said
  said=$(/usr/bin/python3 -IB "$SOURCE/deploy/lib/ports.py" "$ETC" "$READY_SECONDS" 2>&1) || { complain "$said"; return 1; }
}

verify_journal() { # the line with which this very process said that it is ready
  local unit invocation level
  for unit in "${STARTED[@]}"; do
    level=$(/usr/bin/python3 -IB "$SOURCE/deploy/lib/settings.py" "$ETC" "$unit" log_level)
    [[ ! ${level,,} =~ ^(warning|error|critical)$ ]] || continue # that it is ready is a notice
    invocation=$(systemctl show -P InvocationID "$unit")
    journalctl --quiet --lines 1 --output cat _SYSTEMD_INVOCATION_ID="$invocation" MESSAGE_ID="$(ready_id "$unit")" | grep -q . ||
      { complain "no line of $unit in the journal"; return 1; }
  done
}

ready_id() { # UNIT
  local event=daemon.ready
  [[ $1 == syncd.service ]] || event=monitor.ready
  sed -n "/^# $event\$/{n;s/^-- //p}" "$LIB/systemd/catalog/syncd.catalog"
}

verify_outside() { # what is not the release's fault: the marketplace, the login
  local said code=0
  [[ -z $DRY_RUN ]] || return 0
  said=$(as_service "$PREFIX/current/bin/syncd" check 2>&1) || code=$?
  while read -r line; do say "  $line"; done <<<"$said"
  return "$code"
}
