# bash completion for sshs: what completes ssh, and the commands of sshs.
_sshs() {
  local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} offered='' skip=1 ssh rest
  if [[ $COMP_CWORD == 1 ]]; then
    offered='--list --stop --warm --hold --fresh --why --doctor --help --version'
  else
    case $command in
    --list | --why) offered='--json' ;;
    --stop) offered='--all --now' ;;
    esac
  fi
  if [[ $word == --* && -n $offered ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$offered" -- "$word")
    return
  fi
  # What follows a command, and the duration of --hold, is as after ssh.
  if [[ $COMP_CWORD -gt 1 && $command == --* ]]; then
    [[ $command == --hold && $COMP_CWORD -gt 2 ]] && command="$command ${COMP_WORDS[2]}" skip=2
    rest=ssh${COMP_LINE#*"$command"}
    COMP_POINT=$((COMP_POINT - ${#COMP_LINE} + ${#rest}))
    COMP_LINE=$rest COMP_WORDS=(ssh "${COMP_WORDS[@]:skip + 1}") COMP_CWORD=$((COMP_CWORD - skip))
  fi
  # bash-completion has it, under a name that changed in 2.12.
  for ssh in _comp_cmd_ssh _ssh; do
    declare -F $ssh >/dev/null || { _comp_load ssh || _completion_loader ssh; } &>/dev/null
    declare -F $ssh >/dev/null && $ssh ssh "$word" "${COMP_WORDS[COMP_CWORD - 1]}" && return
  done
}
complete -F _sshs sshs
