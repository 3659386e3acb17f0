#compdef zinit
# zsh completion for zinit: zinit completion zsh > "${fpath[1]}/_zinit"
_zinit() {
    local -a candidates
    candidates=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    candidates=("${(@)candidates:#}")
    if (( ${#candidates} )); then
        compadd -a candidates
    else
        _files
    fi
}
if [ "${funcstack[1]}" = "_zinit" ]; then
    _zinit "$@"
else
    compdef _zinit zinit
fi
