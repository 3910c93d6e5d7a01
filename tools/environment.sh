#!/bin/sh
# Makes the environment in which everything runs, of the newest installed Python that fits; anew where one was left half-made.
# usage: [PYTHON=AN_INTERPRETER] tools/environment.sh FOLDER
set -eu
folder=$1
range=$(sed -n 's/^requires-python = ">=3\.\([0-9]*\),<3\.\([0-9]*\)"$/\1 \2/p' pyproject.toml)
lowest=${range% *} above=${range#* }
needed="Python 3.$lowest to 3.$((above - 1))"
made="$folder/.made"

fits() { "$1" -c "import sys; sys.exit(not (3, $lowest) <= sys.version_info[:2] < (3, $above))" 2>/dev/null; }
version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

# The folder may have been moved since, or its interpreter be gone.
if [ "$(cat "$made" 2>/dev/null)" = "$PWD" ] && fits "$folder/bin/python" && "$folder/bin/python" -m pip --version >/dev/null 2>&1
then exit 0; fi

found='' bare=''
if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
else
    set --
    number=$((above - 1))
    while [ $number -ge "$lowest" ]; do set -- "$@" "python3.$number"; number=$((number - 1)); done
    set -- "$@" python3 python
fi
for name; do
    fits "$name" || continue
    # Debian and Ubuntu have these two in a package of their own.
    if "$name" -c 'import ensurepip, venv' 2>/dev/null; then found=$name; break; fi
    bare=${bare:-$name}
done
if [ -z "$found" ]; then
    if [ -n "$bare" ]; then
        echo "$bare cannot make an environment: run \`apt install python$(version "$bare")-venv\`, then this again." >&2
    elif [ -n "${PYTHON:-}" ]; then
        echo "$PYTHON is no $needed; name another: make demo PYTHON=/path/to/python3.$lowest" >&2
    else
        echo "$needed is needed, and none is installed; install one, or name it: make demo PYTHON=/path/to/python3.$lowest" >&2
    fi
    exit 1
fi
rm -rf "$folder"
"$found" -m venv "$folder"
pwd > "$made"
