# Completion of jobwright for bash. Load it in ~/.bashrc:
#
#     source <(jobwright completions bash)

_jobwright() {
    local line current output flags
    local -a words
    # Bash splits words at = and :, so the line is split here.
    line=${COMP_LINE:0:$COMP_POINT}
    read -ra words <<< "$line"
    current=
    if [[ $line =~ [^[:space:]]$ ]]; then
        current=${words[-1]}
    else
        words+=("")
    fi
    output=$("${words[0]}" __complete -- "${words[@]:1}" 2> /dev/null) || return
    flags=${output##*:}
    output=${output%:*}
    COMPREPLY=()
    # Bash replaces only the part of the word after its last separator.
    local prefix=
    if [[ $current == *[=:]* ]]; then
        prefix=${current%"${current##*[=:]}"}
    fi
    local candidate
    while IFS=$'\t' read -r candidate _; do
        if [[ -n $candidate ]]; then
            COMPREPLY+=("${candidate#"$prefix"}")
        fi
    done <<< "$output"
    if ((flags & 2)); then
        compopt -o nospace
    fi
    if ! ((flags & 4)); then
        compopt -o default
    fi
}

complete -F _jobwright jobwright
