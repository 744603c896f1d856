# For bash: closes what is open above 9, which sh cannot name, and becomes the program "$@".
for fd in /dev/fd/??*; do
  [ ! -e "$fd" ] || eval "exec ${fd##*/}>&-"
done
exec "$@"
