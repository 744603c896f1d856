#compdef sshs
# zsh completion for sshs: what completes ssh, and the commands of sshs as the first word.
local -a commands flags
commands=(
  '--list:what is shared, and for how long yet'
  '--stop:take no new sessions, end with the last'
  '--warm:log in to many hosts at once'
  '--hold:keep the connection for a time'
  '--fresh:log in anew now'
  '--why:what would be done with a call'
  '--doctor:what stands in the way of sharing'
  '--help:the manual in short'
  '--version:the versions of sshs, Deno and OpenSSH'
)
if (( CURRENT == 2 )) && [[ $PREFIX == --* ]]; then
  _describe -o command commands
  return
fi
case $words[2] in
  --list | --why) flags=(--json) ;;
  --stop) flags=(--all --now) ;;
esac
if (( $#flags )) && [[ $PREFIX == --* ]]; then
  compadd -a flags
  return
fi
# What follows a command, and the duration of --hold, is as after ssh.
if [[ $words[2] == --* ]]; then
  local -i skip=1
  [[ $words[2] == --hold ]] && (( CURRENT > 3 )) && skip=2
  words=(ssh $words[skip+2,-1])
  (( CURRENT -= skip ))
fi
service=ssh _ssh
