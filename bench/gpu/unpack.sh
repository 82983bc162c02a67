#!/bin/bash
# Takes the part of the race that this script lies beside; unpacks all once the last has come.
#   bash 1/unpack.sh TARGET; bash 2/unpack.sh TARGET; …; . TARGET/env.sh; python3 -m bench.gpu.race
# PARTS is written by python -m bench.gpu.pack.
set -e
PARTS=0
HERE=$(cd "$(dirname "$0")" && pwd)
TARGET=${1:-$HOME/webdnn-race}
mkdir -p "$TARGET/parts"
TARGET=$(cd "$TARGET" && pwd)
cp "$HERE"/race.tar.xz.* "$TARGET/parts/"
set -- "$TARGET"/parts/race.tar.xz.*
if [ $# -lt $PARTS ]; then echo "part $# of $PARTS is here"; exit; fi

cd "$TARGET"
if command -v xz > /dev/null; then
  cat "$@" | xz -T0 -dc | tar -xf -
else  # Python reads it, too
  cat "$@" | python3 -c 'import sys, tarfile
tarfile.open(fileobj=sys.stdin.buffer, mode="r|xz").extractall(filter="fully_trusted")'
fi
rm -r parts

mkdir -p bin
cat > chromium/fonts/fonts.conf << END
<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>$TARGET/chromium/fonts</dir><cachedir>$TARGET/chromium/fonts</cachedir></fontconfig>
END
cat > bin/chromium << END
#!/bin/bash
export LD_LIBRARY_PATH=$TARGET/chromium/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
export FONTCONFIG_PATH=$TARGET/chromium/fonts
exec $TARGET/chromium/chromium "\$@"
END
chmod +x bin/chromium
cat > env.sh << END
export PATH=$TARGET/bin:\$PATH WEBDNN_CACHE=$TARGET/cache PYTHONPATH=$TARGET/source
export __GL_SHADER_DISK_CACHE=0  # first runs stay first runs
cd $TARGET/source
END
# A driver that was mounted from elsewhere lies where no loader looks.
for file in $(find /usr/local /opt -name 'nvidia_icd*.json' 2> /dev/null | head -n 1); do
  echo "export VK_DRIVER_FILES=$file" >> env.sh
done
missing=$(LD_LIBRARY_PATH=$TARGET/chromium/lib ldd chromium/chromium | grep 'not found' || true)
if [ -n "$missing" ]; then echo "Chromium lacks:" "$missing"; exit 1; fi
echo "all $PARTS parts are here; next: . $TARGET/env.sh; python3 -m bench.gpu.race"
