# fish completion for sshs: as for ssh, and the commands of sshs as the first word.
complete -c sshs -w ssh
function __sshs_first
    test (count (commandline -opc)) -eq 1
end
function __sshs_after
    set -l words (commandline -opc)
    contains -- "$words[2]" $argv
end
complete -c sshs -n __sshs_first -l list -d 'List shared connections'
complete -c sshs -n __sshs_first -l stop -d 'Stop accepting sessions'
complete -c sshs -n __sshs_first -l warm -d 'Log in to many hosts at once'
complete -c sshs -n __sshs_first -l hold -d 'Keep a connection open for a time'
complete -c sshs -n __sshs_first -l socket -d 'Print the control socket of a connection'
complete -c sshs -n __sshs_first -l with -d 'Run a command with connections of its own'
complete -c sshs -n __sshs_first -l fresh -d 'Log in anew'
complete -c sshs -n __sshs_first -l why -d 'Say what would be done with a call'
complete -c sshs -n __sshs_first -l doctor -d 'Find what prevents sharing'
complete -c sshs -n __sshs_first -l install -d 'Install launchers, man page and completions'
complete -c sshs -n __sshs_first -l uninstall -d 'Close what is shared, remove what was installed'
complete -c sshs -n __sshs_first -l completions -d 'Print the completions for a shell'
complete -c sshs -n __sshs_first -l help -d 'Show a short manual'
complete -c sshs -n __sshs_first -l version -d 'Show the versions of sshs, Deno and OpenSSH'
complete -c sshs -n '__sshs_after --list --warm --why' -l json -d 'Print JSON'
complete -c sshs -n '__sshs_after --list' -l watch -d 'Keep the list current'
complete -c sshs -n '__sshs_after --stop' -l all -d 'All connections'
complete -c sshs -n '__sshs_after --stop --uninstall' -l now -d 'End the sessions too'
complete -c sshs -n '__sshs_after --install --uninstall' -l prefix -r -F -d 'Directory, instead of ~/.local'
complete -c sshs -n '__sshs_after --completions' -f -a 'bash zsh fish'
