# Completion of jobwright for fish. Load it in ~/.config/fish/config.fish:
#
#     jobwright completions fish | source

function __jobwright_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l lines ($words[1] __complete -- $words[2..-1] "$current" 2> /dev/null)
    if test (count $lines) -eq 0
        return
    end
    # The last line has the flags: without 4, files are candidates.
    set -l flags (string replace : '' -- $lines[-1])
    if test (math "bitand($flags, 4)") -eq 0
        __fish_complete_path $current
    end
    for line in $lines[1..-2]
        echo $line
    end
end

complete -c jobwright -f -a '(__jobwright_complete)'
