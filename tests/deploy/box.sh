#!/usr/bin/env bash
# A real systemd as process 1 of throw-away namespaces, over a copy-on-write view of this machine's root.
# For tests, not for confinement: root inside is root. Needs root, util-linux and an installed systemd and dbus;
# downloads nothing, and leaves nothing behind.
#
#   box.sh up            boot it (idempotent); prints nothing on success
#   box.sh exec CMD...   run CMD inside; the exit status is CMD's
#   box.sh root          the path of its root folder as this machine sees it
#   box.sh down          orderly shutdown, then remove every trace
#
#   BOX_NAME   so that several can run at once            [box]
#   BOX_BIND   folders to bind in, SRC:DST, space-separated []
set -euo pipefail

NAME=${BOX_NAME:-box}
[[ $NAME =~ ^[A-Za-z0-9_-]+$ ]] || { echo "bad BOX_NAME" >&2; exit 2; }
STATE=/run/syncd-box/$NAME
CG=syncd-box-$NAME
PATH=$PATH:/usr/sbin:/sbin
BOOT_SECONDS=60
DOWN_SECONDS=20

die() { echo "box: $*" >&2; exit 1; }

starttime() { # of PID $1: tells a pid taken anew from ours; fails for a dead one
  local text fields
  text=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -ra fields <<<"${text##*) }"
  [[ ${fields[0]} != [ZX] ]] && echo "${fields[19]}"
}

leader() { # the box's process 1 as this machine sees it; fails when not running
  local pid start
  [[ -r $STATE/leader ]] && read -r pid start <"$STATE/leader" || return 1
  [[ $(starttime "$pid" || true) == "$start" ]] || return 1
  echo "$pid"
}

# Every mounted hierarchy, as "KIND MOUNTPOINT OUR-PATH-IN-IT". KIND: v2, or v1's controllers ("memory", "name=systemd").
hierarchies() {
  local controllers path mounted
  while IFS=: read -r _ controllers path; do
    if [[ -z $controllers ]]; then
      mounted=$(awk '$3=="cgroup2"{print $2; exit}' /proc/mounts)
      [[ -z $mounted ]] || echo "v2 $mounted $path"
    else
      mounted=$(awk -v c="$controllers" '$3=="cgroup"{n=split($4,o,",");m=split(c,w,",");k=0;
                for(i=1;i<=m;i++)for(j=1;j<=n;j++)if(o[j]==w[i])k++;
                if(k==m){print $2; exit}}' /proc/mounts)
      [[ -z $mounted ]] || echo "$controllers $mounted $path"
    fi
  done </proc/self/cgroup
}

join_cgroups() { # put process $1 into a fresh group of every hierarchy
  local kind mounted path dir controller
  while read -r kind mounted path; do
    [[ $kind == cpuset || $kind == *,cpuset* ]] && continue # v1 needs masks set; systemd does not use it
    if [[ $kind == v2 ]]; then
      dir=$mounted/$CG # a v2 group that holds processes hands no controllers down; the root does
      mkdir -p "$dir" 2>/dev/null || continue
      for controller in cpu memory pids io; do
        grep -qw "$controller" "$mounted/cgroup.controllers" &&
          echo "+$controller" >"$mounted/cgroup.subtree_control" 2>/dev/null || true
      done
    else
      dir=${mounted}${path%/}/$CG # below our own: its limits hold for the box too
      mkdir -p "$dir" 2>/dev/null || continue
    fi
    echo "$dir" >>"$STATE/cgroups"
    echo "$1" >"$dir/cgroup.procs" || echo "cannot join $dir" >&2
  done < <(hierarchies)
}

clean() { # everything that `up` made outside of the namespaces
  local dir
  if [[ -f $STATE/cgroups ]]; then
    while read -r dir; do
      [[ -d $dir && $dir == */$CG ]] || continue
      for _ in $(seq 50); do
        find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null || true
        [[ -d $dir ]] || break
        sleep 0.1
      done
      [[ ! -d $dir ]] || echo "box: $dir is still in use" >&2
    done <"$STATE/cgroups"
  fi
  rm -rf --one-file-system "$STATE"
}

outer() { # in this machine's namespaces: choose cgroups, then leave them
  join_cgroups $BASHPID
  exec unshare --mount --propagation private --uts --ipc --cgroup --net --pid --fork --kill-child bash "$SELF" __inner
}

mount_root() { # $1: this machine's root with all writes going to a tmpfs, which dies with the mount namespace
  local unit
  mount -t tmpfs -o size=4g,mode=755 box "$STATE/cow"
  mkdir "$STATE/cow/upper" "$STATE/cow/work"
  mount -t overlay -o "lowerdir=/,upperdir=$STATE/cow/upper,workdir=$STATE/cow/work" overlay "$1"
  # a clean slate: none of this machine's enabled units, init scripts and mounts
  for unit in etc/systemd/system etc/systemd/user etc/rc{0,1,2,3,4,5,6,S}.d etc/init.d var/log/journal; do
    rm -rf "${1:?}/$unit"
    mkdir -p "$1/$unit"
  done
  : >"$1/etc/fstab"
  mkdir -p "$1/run" "$1/tmp" "$1/proc" "$1/sys" "$1/dev" "$1/etc/systemd/journald.conf.d"
  tr -d - </proc/sys/kernel/random/uuid >"$1/etc/machine-id"
  echo "$NAME" >"$1/etc/hostname"
  printf '127.0.0.1 localhost %s\n::1 localhost\n' "$NAME" >"$1/etc/hosts"
  printf '[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\nAudit=no\n' >"$1/etc/systemd/journald.conf.d/box.conf"
  for unit in systemd-journald-audit.socket systemd-logind.service systemd-networkd.service systemd-resolved.service \
    systemd-timesyncd.service sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
    getty.target getty-static.service console-getty.service systemd-firstboot.service dev-hugepages.mount; do
    ln -sf /dev/null "$1/etc/systemd/system/$unit"
  done
}

mount_kernel() { # $1/run, tmp, proc, sys and dev
  local name
  mount -t tmpfs -o mode=755,nosuid,nodev,size=256m run "$1/run"
  mount -t tmpfs -o mode=1777,nosuid,nodev,size=1g tmp "$1/tmp"
  mount -t proc -o nosuid,nodev,noexec proc "$1/proc"
  for name in sys sysrq-trigger irq bus acpi; do
    [[ -e $1/proc/$name ]] || continue
    mount --bind "$1/proc/$name" "$1/proc/$name"
    mount -o remount,bind,ro "$1/proc/$name"
  done
  mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$1/sys"
  mount -t tmpfs -o mode=755,nosuid,size=1m dev "$1/dev"
  for name in null zero full random urandom tty; do
    : >"$1/dev/$name"
    mount --bind "/dev/$name" "$1/dev/$name"
  done
  mkdir "$1/dev/pts" "$1/dev/shm" "$1/dev/mqueue"
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$1/dev/pts"
  ln -s pts/ptmx "$1/dev/ptmx"
  mount -t tmpfs -o mode=1777,nosuid,nodev shm "$1/dev/shm"
  ln -s /proc/self/fd "$1/dev/fd"
  ln -s fd/0 "$1/dev/stdin"
  ln -s fd/1 "$1/dev/stdout"
  ln -s fd/2 "$1/dev/stderr"
}

mount_cgroups() { # hybrid where this machine keeps controllers in v1, else plain v2
  local root=$1/sys/fs/cgroup kind name v1=0
  while read -r kind _; do [[ $kind == v2 ]] || v1=1; done < <(hierarchies)
  if ((v1 == 0)); then
    mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root"
    return
  fi
  mount -t tmpfs -o mode=755,nosuid,nodev,noexec,size=1m cgroup "$root"
  while read -r kind _; do
    case $kind in
      v2) mkdir -p "$root/unified" && mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/unified" ;;
      cpuset) ;;
      *)
        name=${kind#name=}
        mkdir -p "$root/$name"
        mount -t cgroup -o "nosuid,nodev,noexec,$kind" cgroup "$root/$name"
        ;;
    esac
  done < <(hierarchies)
  mount -o remount,ro "$root"
}

inner() { # process 1 of the box, until it becomes systemd
  local root=$STATE/root pair
  for _ in $(seq 500); do
    [[ -e $STATE/leader ]] && break # `up` is done with our cgroup
    sleep 0.01
  done
  exec </dev/null
  hostname "$NAME"
  mount_root "$root"
  mount_kernel "$root"
  mount_cgroups "$root"
  for pair in ${BOX_BIND:-}; do
    mkdir -p "$root${pair#*:}"
    mount --rbind "${pair%%:*}" "$root${pair#*:}"
  done
  cd "$root"
  pivot_root . .
  umount -l .
  cd /
  mount --make-rshared / # systemd wants it of a container manager; LoadCredential= needs it
  exec env -i container=box container_uuid="$(cat /etc/machine-id)" LANG=C.UTF-8 \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    setpriv --bounding-set -sys_module,-sys_rawio,-sys_time,-audit_control,-audit_read,-syslog,-mac_admin,-mac_override,-wake_alarm,-block_suspend \
    /lib/systemd/systemd --unit=multi-user.target --log-target=journal --show-status=0
}

lock() {
  mkdir -p "${STATE%/*}"
  exec 9>"${STATE%/*}/.$NAME.lock"
  flock 9
}

wait_for_namespaces() { # of supervisor $1; writes $STATE/leader and prints the pid
  local child='' end=$((SECONDS + BOOT_SECONDS)) kind mounted path
  while :; do
    kill -0 "$1" 2>/dev/null || { cat "$STATE/log" >&2; return 1; }
    [[ $(cat "/proc/$1/comm" 2>/dev/null) == unshare ]] && child=$(cat "/proc/$1/task/$1/children" 2>/dev/null || true)
    child=${child%% *}
    [[ -z $child ]] || break
    ((SECONDS < end)) || { kill -9 "$1"; return 1; }
    sleep 0.02
  done
  while read -r kind mounted path; do # the box's root group must hold nothing but systemd, or v2 gives no controllers
    [[ $kind != v2 ]] || echo "$1" >"${mounted}${path%/}/cgroup.procs"
  done < <(hierarchies)
  echo "$child $(starttime "$child")" >"$STATE/leader.new"
  mv "$STATE/leader.new" "$STATE/leader"
  echo "$child"
}

up() {
  local supervisor child end=$((SECONDS + BOOT_SECONDS)) state
  [[ $(id -u) == 0 ]] || die "needs root"
  lock
  leader >/dev/null && return 0
  clean # what a killed run left
  mkdir -p "$STATE/root" "$STATE/cow"
  chmod 700 "$STATE"
  SELF=$(readlink -f "$0") setsid bash "$0" __outer >"$STATE/log" 2>&1 </dev/null 9>&- &
  supervisor=$!
  disown
  child=$(wait_for_namespaces "$supervisor") || { clean; die "did not start"; }
  while ((SECONDS < end)); do
    if [[ -S /proc/$child/root/run/systemd/private && -S /proc/$child/root/run/dbus/system_bus_socket ]]; then
      state=$(run_inside systemctl is-system-running --wait 2>/dev/null || true)
      case $state in
        running) return 0 ;;
        degraded) run_inside systemctl list-units --failed --no-legend --plain >&2; return 0 ;;
      esac
    fi
    kill -0 "$supervisor" 2>/dev/null || { cat "$STATE/log" >&2; clean; die "died while booting"; }
    sleep 0.05
  done
  cat "$STATE/log" >&2
  die "not up after $BOOT_SECONDS s (box.sh down removes it)"
}

run_inside() ( # in every namespace of the box
  exec 9>&-
  pid=$(leader) || die "$NAME is not up"
  while read -r dir; do # else systemd may not move it
    mkdir -p "$dir/exec" && echo "$BASHPID" >"$dir/exec/cgroup.procs"
  done <"$STATE/cgroups" 2>/dev/null || true
  exec nsenter -t "$pid" --mount --uts --ipc --net --pid --cgroup --root --wdns=/ -- "$@"
)

down() {
  local pid
  lock
  if pid=$(leader); then
    kill -s SIGRTMIN+4 "$pid" 2>/dev/null || true # systemd: power off
    for _ in $(seq $((10 * DOWN_SECONDS))); do
      leader >/dev/null || break
      sleep 0.1
    done
    if leader >/dev/null; then
      kill -9 "$pid" 2>/dev/null || true
      sleep 0.3
    fi
  fi
  clean
  rm -f "${STATE%/*}/.$NAME.lock"
}

case ${1:-} in
  up) up ;;
  exec) shift; run_inside "$@" ;;
  root) pid=$(leader) || die "$NAME is not up"; echo "/proc/$pid/root" ;;
  down) down ;;
  __outer) outer ;;
  __inner) inner ;;
  *) sed -n '2,/^set -/p' "$0" | grep '^#' | cut -c3-; exit 2 ;;
esac
