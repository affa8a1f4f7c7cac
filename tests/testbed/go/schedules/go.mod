// Prints what robfig/cron makes of schedules: see main.go.
module jobwright.dev/testbed/schedules

go 1.26.0

require github.com/robfig/cron/v3 v3.0.1
