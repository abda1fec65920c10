package controller

import "strings"

// say writes the event that belongs to an action's outcome, if it has one.
func (e Env) say(a Action, name string, err error) {
	ev, detail := a.Event, ""
	if err != nil {
		ev, detail = a.Failed, err.Error()
	}
	if ev.Reason == "" {
		return
	}
	message := strings.NewReplacer("%o", name, "%e", detail).Replace(ev.Message)
	e.Events.EventOn(a.On, ev.Type, ev.Reason, message)
}
