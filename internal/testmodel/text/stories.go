package text

import "strings"

// story is one story: someone wants something, something happens, and it ends
// well. Bound for its length: hero with pronouns, friend, thing and place.
func story(w *writer) string {
	w.bindPerson("hero", "he", "him", "his", w.pick("person"))
	w.bindPerson("friend", "fhe", "fhim", "fhis", w.otherPerson())
	w.bind("pet", w.pick("animal"))
	w.bind("thing", w.pick("object"))
	w.bind("place", w.pick("spot"))
	w.bind("colour", w.pick("hue"))
	plot := []string{"open", "want", "go", "find", w.plots(), "feel", "home"}
	sentences := make([]string, len(plot))
	for i, rule := range plot {
		sentences[i] = w.pick(rule)
	}
	return strings.Join(sentences, " ")
}

// plots chooses what the middle of a story is about.
func (w *writer) plots() string {
	middles := []string{"lost", "rain", "share", "brave", "make", "sleepy"}
	return middles[w.below(len(middles))]
}

// bindPerson takes "Name m" or "Name f".
func (w *writer) bindPerson(name, he, him, his, person string) {
	who, sex, _ := strings.Cut(person, " ")
	w.bind(name, who)
	pronouns := [3]string{"he", "him", "his"}
	if sex == "f" {
		pronouns = [3]string{"she", "her", "her"}
	}
	w.bind(he, pronouns[0])
	w.bind(him, pronouns[1])
	w.bind(his, pronouns[2])
}

// otherPerson is someone who is not the hero.
func (w *writer) otherPerson() string {
	for {
		if p := w.pick("person"); !strings.HasPrefix(p, w.bound["hero"]+" ") {
			return p
		}
	}
}

var storyRules = map[string][]string{
	"person": {"Tom m", "Ann f", "Ben m", "Lily f", "Max m", "Mia f", "Sam m", "Rose f", "Tim m", "Nell f"},
	"animal": {"cat", "dog", "duck", "fox", "hen", "goat", "mouse", "bird"},
	"object": {"ball", "kite", "cake", "drum", "hat", "book", "boat", "bell", "lamp", "cup"},
	"hue":    {"red", "blue", "green", "yellow", "white"},
	"spot":   {"garden", "park", "wood", "field", "barn", "hill", "farm", "yard"},
	"kind":   {"little", "small", "happy", "kind", "quiet", "funny"},
	"nice":   {"big", "round", "pretty", "soft", "shiny", "new"},
	"day":    {"one day", "one morning", "one sunny day", "one warm day", "one afternoon"},
	"tree":   {"tree", "bush", "gate", "wall", "bench", "well"},
	"food":   {"bread", "soup", "apples", "milk and honey", "pie", "nuts"},

	"open": {
		"Once upon a time there was a {kind} child named {hero}. {Hero} had a {pet}.",
		"{Hero} was a {kind} child. {He} lived near the {place} with {his} {pet}.",
		"There was a {kind} {pet} who lived with {hero}. They played in the {place} every day.",
		"{Day}, {hero} woke up early. The sun was up and the {pet} was singing.",
		"{Hero} and {friend} were good friends. They liked to play in the {place}.",
	},
	"want": {
		"{He} wanted a {colour} {thing} more than anything.",
		"{Hero} loved {his} {colour} {thing}. It was {nice} and {nice}.",
		"{Day}, {hero} said, \"I want to find my {colour} {thing}.\"",
		"{His} mother gave {him} a {nice} {colour} {thing}.",
		"\"Can we play with the {thing}?\" asked {hero}. \"Yes,\" said {his} mother.",
	},
	"go": {
		"So {hero} went to the {place} with the {pet}.",
		"{He} put on {his} hat and ran to the {place}.",
		"{Hero} walked and walked until {he} came to the {place}.",
		"The {pet} ran to the {place}, and {hero} ran after it.",
		"They went to the {place} to look around.",
	},
	"find": {
		"There {he} saw {friend} under a {tree}.",
		"In the {place} {he} met {friend}. \"Hello, {hero},\" said {friend}.",
		"{Friend} was there too. {Fhe} had some {food} to eat.",
		"By the {tree} sat {friend}, and {fhe} looked sad.",
		"{He} looked behind the {tree} and saw {friend}.",
	},
	"lost": {
		"\"I lost my {thing},\" said {friend}. They looked by the {tree} and they looked in the {place}. At last the {pet} found it.",
		"The {thing} was gone! {Hero} began to cry. \"Do not be sad,\" said {friend}. \"I will help you look.\" Soon they found it under the {tree}.",
		"{Hero} could not see the {pet}. {He} called and called. Then {friend} heard a sound. The {pet} was behind the {tree}.",
	},
	"rain": {
		"Then it began to rain. {Hero} and {friend} sat under the {tree} and told stories until the sun came out.",
		"The wind was strong and took the {thing} up into the sky. The {pet} jumped and jumped, and {hero} laughed. Then the {thing} came down by the {tree}.",
		"It was very cold, so {friend} gave {hero} {fhis} coat. They had warm {food} and felt much better.",
	},
	"share": {
		"{Friend} wanted to play with the {thing} too. At first {hero} said no. Then {he} said, \"We can share it.\"",
		"{Hero} had {food} and {friend} had none. {Hero} gave half of it to {fhim}. \"Thank you,\" said {friend}.",
		"They took turns with the {colour} {thing}. First {hero}, then {friend}, and then the {pet}.",
	},
	"brave": {
		"They heard a loud noise. {Friend} was scared, but {hero} was brave. {He} looked behind the {tree}. It was only the {pet}!",
		"A {pet} was stuck in the {tree}. {Hero} was afraid to climb, but {he} tried, and {he} helped it down.",
		"It was dark in the {place}. \"Hold my hand,\" said {hero}. They walked slowly and came out into the light.",
	},
	"make": {
		"\"Let us make a new {thing},\" said {friend}. They worked all day. It was not very {nice}, but it was theirs.",
		"They made a {nice} house for the {pet}. The {pet} went in and did not want to come out.",
		"The {thing} was broken. {Hero} and {friend} fixed it with some string. It was as good as new.",
	},
	"sleepy": {
		"The {pet} was tired and lay down by the {tree}. Soon {hero} and {friend} were sleeping too.",
		"They ate {food} and looked at the clouds. One cloud looked like a {pet}. One looked like a {thing}.",
		"{Hero} sang a song to the {pet}. The {pet} closed its eyes. \"Good night,\" said {friend}.",
	},
	"feel": {
		"{Hero} was very happy.",
		"{Hero} smiled, and {friend} smiled too.",
		"\"You are a good friend,\" said {hero}.",
		"They all laughed and played until it was late.",
		"The {pet} was happy too.",
	},
	"home": {
		"Then they all went home and had {food}.",
		"At night {hero} told {his} mother about the {place}. The end.",
		"From that day on, {hero} and {friend} played together every day.",
		"{He} went to bed with the {colour} {thing} and had a good dream.",
		"And {hero} never forgot that day. The end.",
	},
}
