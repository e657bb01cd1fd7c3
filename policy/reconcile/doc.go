// Package reconcile is the agent's loop: when to look at a host again, and when to leave it alone. It knows neither OVSDB nor
// what a pass does; that is a [Host]'s. Its time is package time's, which tests replace by that of a testing/synctest bubble.
package reconcile
