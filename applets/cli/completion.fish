# fish completion for zinit: zinit completion fish > ~/.config/fish/completions/zinit.fish
function __zinit_complete
    set -l words (commandline -opc)
    $words[1] __complete $words[2..-1] (commandline -ct) 2>/dev/null
end
complete -c zinit -f -a '(__zinit_complete)'
complete -c zinit -n '__fish_seen_subcommand_from add-service check image install upgrade' -F
