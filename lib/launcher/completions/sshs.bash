# bash completion for sshs: as for ssh, and the commands of sshs as the first word.
_sshs() {
  local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} offered='' skip=1 ssh rest
  if [[ $COMP_CWORD == 1 ]]; then
    offered='--list --stop --warm --hold --socket --with --fresh --why --doctor --install --uninstall
      --completions --help --version'
  else
    case $command in
    --list) offered='--watch --json' ;;
    --warm | --why) offered='--json' ;;
    --stop) offered='--all --now' ;;
    --install) offered='--prefix' ;;
    --uninstall) offered='--prefix --now' ;;
    --completions) offered='bash zsh fish' ;;
    esac
  fi
  if [[ $word == --* && -n $offered ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$offered" -- "$word")
    return
  fi
  # After a command, and after the duration of --hold, complete as for ssh.
  if [[ $COMP_CWORD -gt 1 && $command == --* ]]; then
    [[ $command == --hold && $COMP_CWORD -gt 2 ]] && command="$command ${COMP_WORDS[2]}" skip=2
    rest=ssh${COMP_LINE#*"$command"}
    COMP_POINT=$((COMP_POINT - ${#COMP_LINE} + ${#rest}))
    COMP_LINE=$rest COMP_WORDS=(ssh "${COMP_WORDS[@]:skip + 1}") COMP_CWORD=$((COMP_CWORD - skip))
  fi
  # bash-completion has the one for ssh, under a name that changed in 2.12.
  for ssh in _comp_cmd_ssh _ssh; do
    declare -F $ssh >/dev/null || { _comp_load ssh || _completion_loader ssh; } &>/dev/null
    declare -F $ssh >/dev/null && $ssh ssh "$word" "${COMP_WORDS[COMP_CWORD - 1]}" && return
  done
}
complete -F _sshs sshs
