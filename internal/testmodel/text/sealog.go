package text

import (
	"fmt"
	"strings"
)

// logEntry is the entry of one day at sea: the course, the weather, what the
// crew did, what was seen, and what was left in the stores.
func logEntry(w *writer, day int) string {
	head := fmt.Sprintf("Day %d. Wind %s, %s. Course %s, %d knots.", day, w.pick("from"), w.pick("force"), w.pick("point"), 2+w.below(9))
	middle := []string{"work", "sight", "crew", "trouble"}
	lines := []string{head, w.pick("weather")}
	first := w.below(len(middle))
	for i := range 2 + w.below(2) {
		lines = append(lines, w.pick(middle[(first+i)%len(middle)]))
	}
	lines = append(lines, fmt.Sprintf("%s at %d fathoms.", w.pick("sounding"), 7+w.below(40)), w.pick("close"))
	return strings.Join(lines, " ")
}

var logRules = map[string][]string{
	"from":  {"NW", "SW", "W by N", "ESE", "due north", "due south", "SSW", "NE"},
	"force": {"fresh", "light and baffling", "a full gale", "steady", "hard squalls", "dead calm by noon"},
	"point": {"SW by W", "due west", "NNE", "S by E", "WNW", "due south"},
	"sail":  {"topsails", "main course", "jib", "mizzen", "foresail", "royals", "studding sails"},
	"side":  {"larboard", "starboard", "the larboard bow", "the starboard quarter"},
	"hand":  {"the bosun", "the carpenter", "the mate", "old Harrow", "the cook", "the sailmaker", "the gunner", "young Pike"},
	"deck":  {"the forecastle", "the quarterdeck", "the waist", "the hold", "the orlop", "the galley"},
	"goods": {"salt pork", "ship's biscuit", "rum", "lime juice", "dried peas", "oakum", "tar"},
	"ship":  {"brig", "schooner", "frigate", "whaler", "cutter", "barque"},

	"weather": {
		"Heavy sea running, decks awash.",
		"Thick fog at dawn; rang the bell each glass.",
		"Sky clear, the swell long and easy.",
		"Rain in sheets, and lightning to {side}.",
		"Glass falling fast, an ugly cross sea.",
		"Fair weather, all hands in good heart.",
	},
	"work": {
		"Took two reefs in the {sail} and sent down the {sail}.",
		"Set the {sail} and hauled the braces taut.",
		"Pumped four hours; water in the well at nineteen inches.",
		"Holystoned {deck} and tarred the standing rigging.",
		"Shifted ballast aft to trim her by the stern.",
		"Bent a new {sail}, the old one being split from head to foot.",
	},
	"sight": {
		"Sighted a strange {ship} hull down to {side}; she showed no colours.",
		"Whales blowing off {side}, a score or more.",
		"Raised the cape at four bells, bearing {point}, seven leagues.",
		"Spoke the {ship} out of Bristol, forty days from port.",
		"Passed a broken spar and weed; land cannot be far.",
		"Masthead cried breakers ahead; wore ship at once.",
	},
	"crew": {
		"{Hand} reports {goods} spoiled in {deck}.",
		"{Hand} caught sleeping on watch; stopped his grog for a week.",
		"Served out {goods} and double grog to all hands.",
		"{Hand} swears he heard singing below the keel.",
		"Mustered by divisions; {hand} is sick with fever.",
		"{Hand} mended the {sail} by lantern light.",
	},
	"trouble": {
		"Carried away the {sail} in a squall.",
		"Sprung a leak abaft the mainmast; {hand} stopped it with {goods}.",
		"Lost the best bower anchor, the cable parting at the hawse.",
		"The chronometer has stopped; we steer by the stars and by guess.",
		"Rats in {deck}; {hand} has set the cat to them.",
		"A man overboard at six bells, and by God's mercy got him back.",
	},
	"sounding": {"Sounded, sand and shell", "No bottom", "Sounded, black mud", "Cast the lead, coral"},
	"close": {
		"So ends this day.",
		"So ends this day, all well.",
		"Of {goods} enough, of water nine casks. So ends this day.",
		"God keep the ship. So ends this day.",
	},
}
