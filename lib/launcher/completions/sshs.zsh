#compdef sshs
# zsh completion for sshs: as for ssh, and the commands of sshs as the first word.
local -a commands flags
commands=(
  '--list:list shared connections'
  '--stop:stop accepting sessions'
  '--warm:log in to many hosts at once'
  '--hold:keep a connection open for a time'
  '--socket:print the control socket of a connection'
  '--with:run a command with connections of its own'
  '--fresh:log in anew'
  '--why:say what would be done with a call'
  '--doctor:find what prevents sharing'
  '--install:install launchers, man page and completions'
  '--uninstall:close what is shared, remove what was installed'
  '--completions:print the completions for a shell'
  '--help:show a short manual'
  '--version:show the versions of sshs, Deno and OpenSSH'
)
if (( CURRENT == 2 )) && [[ $PREFIX == --* ]]; then
  _describe -o command commands
  return
fi
case $words[2] in
  --list) flags=(--watch --json) ;;
  --warm | --why) flags=(--json) ;;
  --stop) flags=(--all --now) ;;
  --install) flags=(--prefix) ;;
  --uninstall) flags=(--prefix --now) ;;
esac
if (( $#flags )) && [[ $PREFIX == --* ]]; then
  compadd -a flags
  return
fi
if [[ $words[2] == --completions ]]; then
  compadd bash zsh fish
  return
fi
if [[ $words[2] == --(un|)install ]]; then
  _files -/
  return
fi
# After a command, and after the duration of --hold, complete as for ssh.
if [[ $words[2] == --* ]]; then
  local -i skip=1
  [[ $words[2] == --hold ]] && (( CURRENT > 3 )) && skip=2
  words=(ssh $words[skip+2,-1])
  (( CURRENT -= skip ))
fi
service=ssh _ssh
