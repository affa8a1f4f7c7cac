// Command schedules prints how robfig/cron interprets schedules: one JSON object per line, with the times that follow
// `from` in `zone`, or `refused` for a text that the library rejects. The API server and the built-in CronJob
// controller use this library.
//
//	go run . > ../../../schedules.jsonl
package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"strings"
	"time"
	_ "time/tzdata"

	"github.com/robfig/cron/v3"
)

type row struct {
	Schedule string   `json:"schedule"`
	Zone     string   `json:"zone,omitempty"`
	From     string   `json:"from,omitempty"`
	Next     []string `json:"next,omitempty"`
	Refused  bool     `json:"refused,omitempty"`
}

var zones = []string{
	"UTC", "Europe/Paris", "Europe/London", "Europe/Moscow", "America/New_York", "America/Los_Angeles", "America/Sao_Paulo",
	"America/St_Johns", "America/Caracas", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Tokyo", "Asia/Tehran", "Asia/Pyongyang",
	"Australia/Lord_Howe", "Australia/Sydney", "Australia/Adelaide", "Pacific/Auckland", "Pacific/Apia", "Pacific/Chatham",
	"Africa/Cairo", "Europe/Lisbon", "Atlantic/Azores", "Asia/Beirut", "Antarctica/Troll",
}

// moments are times at or shortly before special dates, such as clock changes and leap days.
var moments = []string{
	"1990-01-01T00:00:00Z", "1999-12-31T23:59:59Z", "2000-02-28T12:00:00Z", "2007-12-08T00:00:00Z", "2011-12-28T00:00:00Z",
	"2015-08-13T00:00:00Z", "2016-04-30T00:00:00Z", "2023-11-05T04:30:00Z", "2024-02-28T23:00:00Z", "2026-03-28T20:00:00Z",
	"2026-03-08T05:00:00Z", "2026-04-04T12:00:00Z", "2026-10-03T12:00:00Z", "2026-10-24T20:00:00Z", "2026-11-01T03:00:00Z",
	"2027-06-15T10:15:30Z", "2038-01-19T03:14:07Z", "2096-02-28T00:00:00Z", "2099-12-31T22:00:00Z",
}

var schedules = []string{
	"* * * * *", "*/5 * * * *", "0 * * * *", "30 2 * * *", "0 0 * * *", "15 2 * * *", "45 1 * * *", "30 1 * * *", "0 3 * * *",
	"59 23 31 12 *", "0 12 29 2 *", "0 0 29 2 1", "0 0 31 2 *", "59 23 31 4 *", "0 0 30 2 *", "0 9-17 * * MON-FRI",
	"0 9-17/2 * * mon,wed,fri", "10/15 * * * *", "10-40/7 4,5,6 * * *", "0 0 1 1 *", "0 0 1,15 * 3", "0 0 13 * FRI", "0 0 ? * SUN",
	"? ? ? ? ?", "0 0 * JAN-MAR,dec *", "5 4 * * sun", "0 22 * * 1-5", "23 0-20/2 * * *", "0 0,12 1 */2 *", "0 4 8-14 * *",
	"0 0 */5 * *", "0 0 */5 * 1", "*/7 */3 */2 * *", "0 0 1-7 * 0", "0 0 * * 0-6", "0 0 * * 6/2", "0 0 * 2/3 *", "0 0 28-31 * *",
	"00 01 02 03 *", "+5 +4 * * *", "*-5 * * * *", "?-9/2 * * * *", "0 */1 * * *", "0 0 */1 * 1", "0 0 1 * */1", "0 0 1 * */2",
	"1,,2 3 * * *", ", * * * *", "* , * * *", "0 1 , * *", "0\t5  *  * *", " 6 6 6 6 * ", "0-59 0 1 1 0", "0/1 0 1 1 0",
	"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly", "@every 1h30m", "@every 90s", "@every 1s",
	"@every 100ms", "@every 1.5s", "@every 1h1.5s", "@every 24h", "@every 0s", "@every -5m", "@every 1h30m10.9s", "@every 2540400h",
	"@every 1us", "@every .5h", "@every 1m1m", "@every +1m",
	"TZ=Asia/Tokyo 30 4 * * *", "CRON_TZ=America/New_York 30 2 * * *", "TZ=UTC @daily", "CRON_TZ=Europe/Paris   0 0 * * 1",
	"TZ= 0 5 * * *", "TZ=Local 0 5 * * *",
}

// odd are unusual texts. The library rejects most of them, and accepts some that look equally invalid.
var odd = []string{
	"", " ", "*", "* *", "* * *", "* * * *", "* * * * * *", "* * * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *",
	"* * * 0 *", "* * * 13 *", "* * * * 7", "* * * * 8", "-1 * * * *", "* -1 * * *", "5-3 * * * *", "* 23-22 * * *", "* * 31-1 * *",
	"* * * DEC-JAN *", "* * * * SAT-SUN", "* * * * FRI-MON", "*/0 * * * *", "0/0 * * * *", "1-5/0 * * * *", "*/-1 * * * *", "*/x * * * *",
	"x * * * *", "* x * * *", "* * x * *", "* * * x *", "* * * * x", "* * * JANUARY *", "* * * * MONDAY", "* * * * MON#1", "* * L * *",
	"* * 15W * *", "* * * * 5L", "H * * * *", "1-2-3 * * * *", "1/2/3 * * * *", "*/2/3 * * * *", "1- * * * *", "-5 * * * *", "1-x * * * *",
	"x-5 * * * *", "/5 * * * *", "5/ * * * *", "*/ * * * *", "1.5 * * * *", "1e1 * * * *", "0x10 * * * *", "1_0 * * * *", "１ * * * *",
	"MON * * * *", "* MON * * *", "* * MON * *", "* * * MON *", "* * * * JAN", "60-61 * * * *", "0-60 * * * *", "* 0-24 * * *", "* * 1-32 * *",
	"* * * 1-13 *", "* * * * 0-7", "0/60/1 * * * *", "99999999999999999999 * * * *", "* * * * 99999999999999999999", "2147483648 * * * *",
	"@", "@x", "@reboot", "@Daily", "@DAILY", "@daily ", "@ daily", "@every", "@every ", "@every x", "@every 5", "@every 5d", "@every 1h 30m",
	"@every h", "@every 1", "@every .", "@every 1h-5m", "@every  1h", "@everyday", "@every\t1h", "@secondly", "@minutely", "@quarterly", "@never",
	"TZ=Nowhere/City * * * * *", "CRON_TZ=Europe/Atlantis 0 0 * * *", "TZ=UTC", "TZ=UTC * * * *", "CRON_TZ=UTC @x", "tz=UTC * * * * *",
	"TZ=../etc/passwd * * * * *", "* * * * *;", "* * * * * # note", "\"* * * * *\"", "0 0 * * MON-", "0 0 * * -FRI", "0 0 * * MON--FRI",
	"0 0 * * *-", "0 0 1st * *", "noon", "every minute", "0 0 * * *!", "0;0 * * * *", "0 0 ** * *", "0 0 *5 * *", "0 0 5* * *", "*5 * * * *",
}

func main() {
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	emit := func(r row) {
		if err := out.Encode(r); err != nil {
			panic(err)
		}
	}
	chance := rand.New(rand.NewSource(1))
	for _, text := range schedules {
		for n := 0; n < 5; n++ {
			add(emit, text, zones[chance.Intn(len(zones))], moments[chance.Intn(len(moments))])
		}
	}
	// Every zone at every moment, in the hours of clock changes.
	for _, zone := range zones {
		for _, from := range moments {
			text := fmt.Sprintf("%d %d * * *", chance.Intn(4)*15, chance.Intn(4))
			add(emit, text, zone, from)
			add(emit, []string{"*/30 0-3 * * *", "15 */2 * * *", "0 0 * * *", "45 23 * * *", "20-40/10 1-2 * * *"}[chance.Intn(5)], zone, from)
		}
	}
	for n := 0; n < 400; n++ {
		add(emit, random(chance), zones[chance.Intn(len(zones))], moments[chance.Intn(len(moments))])
	}
	for _, text := range odd {
		add(emit, text, "UTC", moments[0])
	}
}

// parse returns an error for texts on which the library panics. The API server refuses these texts too.
func parse(text string) (schedule cron.Schedule, err error) {
	defer func() {
		if fallen := recover(); fallen != nil {
			err = fmt.Errorf("%v", fallen)
		}
	}()
	return cron.ParseStandard(text)
}

func add(emit func(row), text, zone, from string) {
	schedule, err := parse(text)
	if err != nil {
		emit(row{Schedule: text, Refused: true})
		return
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		panic(err)
	}
	at, err := time.Parse(time.RFC3339, from)
	if err != nil {
		panic(err)
	}
	r := row{Schedule: text, Zone: zone, From: from}
	t := at.In(location)
	for n := 0; n < 4; n++ {
		if t = schedule.Next(t); t.IsZero() {
			break
		}
		r.Next = append(r.Next, t.UTC().Format(time.RFC3339Nano))
	}
	emit(r)
}

// random returns a text that the library accepts in most cases.
func random(chance *rand.Rand) string {
	field := func(min, max int) string {
		value := func() int { return min + chance.Intn(max-min+1) }
		one := func() string {
			switch chance.Intn(6) {
			case 0, 1:
				return "*"
			case 2:
				return fmt.Sprintf("*/%d", 1+chance.Intn(max))
			case 3:
				a, b := value(), value()
				if a > b {
					a, b = b, a
				}
				return fmt.Sprintf("%d-%d", a, b)
			case 4:
				return fmt.Sprintf("%d/%d", value(), 1+chance.Intn(max))
			default:
				return fmt.Sprint(value())
			}
		}
		parts := []string{one()}
		for chance.Intn(3) == 0 {
			parts = append(parts, one())
		}
		return strings.Join(parts, ",")
	}
	return strings.Join([]string{field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)}, " ")
}
