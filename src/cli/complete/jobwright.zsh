#compdef jobwright
# Completion of jobwright for zsh. Load it in ~/.zshrc after compinit:
#
#     source <(jobwright completions zsh)

_jobwright() {
    local -a lines candidates
    local flags line
    lines=("${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2> /dev/null)}")
    flags=${lines[-1]#:}
    for line in "${(@)lines[1,-2]}"; do
        line=${line//:/\\:}
        candidates+=("${line/$'\t'/:}")
    done
    if ((flags & 2)); then
        _describe 'jobwright' candidates -S ''
    else
        _describe 'jobwright' candidates
    fi
    if ! ((flags & 4)); then
        _files
    fi
}

compdef _jobwright jobwright
