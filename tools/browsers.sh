#!/usr/bin/env bash
# Installs the browser engines that the tests drive, where they are missing and this machine lets
# us: browsers.sh [chromium] [firefox] [webkit]; all three by default.
#
# Only Chromium is indispensable. Without Firefox or WebKit the tests that want them are skipped,
# each with this script's name in its reason; with CI set, a missing engine is an error instead.
set -uo pipefail
[ $# -gt 0 ] || set -- chromium firefox webkit

webkit() { ls /usr/lib/*/webkit2gtk-4.*/MiniBrowser >/dev/null 2>&1 && command -v Xvfb >/dev/null; }
present() {
  case $1 in
    chromium) command -v chromium || command -v chromium-browser || command -v google-chrome ;;
    firefox) command -v firefox-esr || command -v firefox ;;
    webkit) webkit ;;
    *) echo "browsers.sh: unknown engine '$1' (chromium, firefox, webkit)" >&2; exit 2 ;;
  esac >/dev/null
}
# mesa-vulkan-drivers is Firefox's WebGPU device (lavapipe) on a machine without a graphics card.
packages() {
  case $1 in
    chromium) echo chromium ;;
    firefox) echo firefox-esr mesa-vulkan-drivers ;;
    webkit) echo webkit2gtk-driver xvfb ;;
  esac
}

missing=()
for engine in "$@"; do present "$engine" || missing+=("$engine"); done
[ ${#missing[@]} -eq 0 ] && exit 0

wanted=()
for engine in "${missing[@]}"; do read -ra names <<<"$(packages "$engine")"; wanted+=("${names[@]}"); done
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
if command -v apt-get >/dev/null && "${as_root[@]}" true 2>/dev/null; then
  echo "Installing ${wanted[*]} ..."
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
fi

status=0
for engine in "${missing[@]}"; do
  present "$engine" && continue
  echo "browsers.sh: $engine is missing. Install it (Debian: apt-get install $(packages "$engine"))." >&2
  if [ "$engine" = chromium ] || [ -n "${CI:-}" ]; then status=1; fi
done
exit $status
