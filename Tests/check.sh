# For shell tests that print a line per check and end with the sums: `. Tests/check.sh`, then check ..., then sums.
passed=0 failed=0

# check NAME COMMAND...: the command's output is shown if it fails.
check() {
    check_name=$1
    shift
    if check_output=$("$@" 2>&1); then
        echo "ok   $check_name"
        passed=$((passed + 1))
    else
        [ -z "$check_output" ] || echo "$check_output"
        echo "FAIL $check_name"
        failed=$((failed + 1))
    fi
}

sums() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
