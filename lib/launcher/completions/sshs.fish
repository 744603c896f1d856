# fish completion for sshs: what completes ssh, and the commands of sshs as the first word.
complete -c sshs -w ssh
function __sshs_first
    test (count (commandline -opc)) -eq 1
end
function __sshs_after
    set -l words (commandline -opc)
    contains -- "$words[2]" $argv
end
complete -c sshs -n __sshs_first -l list -d 'What is shared, and for how long yet'
complete -c sshs -n __sshs_first -l stop -d 'Take no new sessions, end with the last'
complete -c sshs -n __sshs_first -l warm -d 'Log in to many hosts at once'
complete -c sshs -n __sshs_first -l hold -d 'Keep the connection for a time'
complete -c sshs -n __sshs_first -l fresh -d 'Log in anew now'
complete -c sshs -n __sshs_first -l why -d 'What would be done with a call'
complete -c sshs -n __sshs_first -l doctor -d 'What stands in the way of sharing'
complete -c sshs -n __sshs_first -l help -d 'The manual in short'
complete -c sshs -n __sshs_first -l version -d 'The versions of sshs, Deno and OpenSSH'
complete -c sshs -n '__sshs_after --list --why' -l json -d 'For programs'
complete -c sshs -n '__sshs_after --stop' -l all -d 'All that is shared'
complete -c sshs -n '__sshs_after --stop' -l now -d 'End its sessions too'
