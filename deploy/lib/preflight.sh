# shellcheck shell=bash
# Everything that would stop an installation half way, found before anything is changed and said at once.

LEAST_SYSTEMD=250

preflight() {
  local -a findings=()
  look_at_machine
  ((${#findings[@]} > 0)) || look_further
  ((${#findings[@]} == 0)) && return
  complain "${#findings[@]} finding(s), nothing was changed:"
  printf '  - %s\n' "${findings[@]}" >&2
  for finding in "${findings[@]}"; do note "  - $finding"; done
  exit "$EXIT_PREFLIGHT"
}

look_at_machine() {
  local version
  [[ -d /run/systemd/system ]] || findings+=("systemd does not run this machine")
  version=$(systemctl --version 2>/dev/null | awk 'NR==1{print $2}') || true
  ((${version:-0} >= LEAST_SYSTEMD)) || findings+=("systemd is ${version:-not there}, $LEAST_SYSTEMD is needed")
  for program in setpriv systemd-sysusers systemd-tmpfiles flock; do
    command -v "$program" >/dev/null || findings+=("$program is not installed")
  done
  /usr/bin/python3 -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    findings+=("/usr/bin/python3 is $(/usr/bin/python3 --version 2>&1 || true), 3.11 or newer is needed")
  /usr/bin/python3 -I -c 'import venv; from ensurepip import bootstrap' 2>/dev/null ||
    findings+=("/usr/bin/python3 makes no virtual environments: apt install python3-venv")
  [[ -f $SOURCE/syncd/__init__.py && -f $SOURCE/setup.cfg ]] || findings+=("$SOURCE is no source tree of syncd")
  look_at_old_units
  [[ -z $OFFLINE ]] || look_at_offline
}

look_at_old_units() { # of the scripts that this replaces; ours carry our mark
  local unit path
  [[ -z $REPLACE_OLD ]] || return 0
  for unit in "${UNITS[@]}"; do
    path=$(old_unit "$unit")
    [[ -z $path ]] || findings+=("$path is not ours; --replace-old stops and replaces it, and keeps a copy. It says:
$(sed 's/^/      /' "$path" 2>/dev/null || true)")
    [[ -z $path || ! -d /etc/systemd/system/$unit.d ]] || findings+=("/etc/systemd/system/$unit.d stays, and holds for ours, too")
  done
}

old_unit() { # UNIT: the file that defines it, or the link that masks it or leads to one elsewhere, where that is not ours
  local dir
  for dir in /etc/systemd/system /usr/local/lib/systemd/system /lib/systemd/system; do
    [[ -e $dir/$1 || -L $dir/$1 ]] || continue
    grep -qs 'Installed by deploy_sync_system.sh' "$dir/$1" || echo "$dir/$1"
    return 0
  done
}

look_at_offline() { # whoever may write there could have root run his code, but for the hashes
  local path
  [[ -d $OFFLINE ]] || { findings+=("--offline: $OFFLINE is no folder"); return 0; }
  path=$(readlink -f "$OFFLINE")
  while read -r open; do
    findings+=("--offline: others than root may write $open")
  done < <(find "$path" \( ! -uid 0 -o ! -type l -perm /022 \) -print | head -n 5)
  while [[ $path != / ]]; do
    path=$(dirname "$path")
    # in a folder with the sticky bit nobody replaces what root has put there
    [[ -z $(find "$path" -maxdepth 0 \( ! -uid 0 -o \( -perm /022 ! -perm -1000 \) \)) ]] ||
      findings+=("--offline: others than root may replace what is below $path")
  done
}

look_further() { # with a Python that works
  local active line given='' local_postgres=no
  active=$(systemctl is-active --quiet syncd.service && echo syncd.service; systemctl is-active --quiet sync-monitor.service && echo sync-monitor.service) || true
  given="${USERNAME:+username} ${PASSWORD_FILE:+password}"
  [[ -z $LOCAL_POSTGRES ]] || local_postgres=yes
  for file in "$PASSWORD_FILE" "$DATABASE_URL_FILE"; do
    [[ -z $file || $file == - || -r $file ]] || findings+=("$file cannot be read")
    [[ ! -f $file || -s $file ]] || findings+=("$file is empty")
  done
  [[ ! -p $DATABASE_URL_FILE ]] || findings+=("$DATABASE_URL_FILE is no file, and can be read only once")
  while read -r line; do
    [[ -z $line ]] || findings+=("$line")
  done < <(/usr/bin/python3 -IB "$SOURCE/deploy/lib/look.py" "$ETC" "$PREFIX" "$DATABASE_URL_FILE" "$given" "$local_postgres" "$active" || echo "look.py failed")
}
