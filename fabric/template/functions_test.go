package template

import (
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
)

// parse reads JSON of a test.
func parse(t testing.TB, text string) any {
	t.Helper()
	v, err := document.ParseLenient([]byte(text))
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// evaluator returns a frame to evaluate expressions in.
func evaluator(t testing.TB) *frame {
	t.Helper()
	r := request(t, `{}`, `{}`)
	r.Template.Set("variables", parse(t, `{"v": {"Name": "x", "list": [1, 2, 3]}, "chain": "[variables('v').name]", "me": "[variables('me')]",
		"copy": [{"name": "loop", "count": 3, "input": "[copyIndex('loop', 10)]"}]}`))
	r.Template.Set("functions", parse(t, `[{"namespace": "my", "members": {"twice": {"parameters": [{"name": "n", "type": "int"}],
		"output": {"type": "int", "value": "[mul(parameters('n'), 2)]"}}}}]`))
	x, err := newExpansion(r)
	if err != nil {
		t.Fatal(err)
	}
	x.plan = &Plan{x: x, index: map[string][]*Resource{}}
	return &frame{x: x}
}

// request is a template of these sections, deployed to a resource group.
func request(t testing.TB, sections, parameters string) Request {
	t.Helper()
	tmpl := document.NewObject("$schema", "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion", "1.0.0.0")
	for name, v := range parse(t, sections).(*document.Object).All() {
		tmpl.Set(name, v)
	}
	scope := azure.GroupID("sub", "rg")
	return Request{
		Template: tmpl, Parameters: parse(t, parameters).(*document.Object), Scope: scope,
		ResourceGroup: document.NewObject("id", scope.String(), "name", "rg", "location", "westeurope"),
		Subscription:  document.NewObject("id", "/subscriptions/sub", "subscriptionId", "sub", "tenantId", "ten"),
		Deployment:    document.NewObject("name", "dep"),
		Now:           time.Date(2026, 11, 24, 9, 5, 7, 120_000_000, time.UTC),
		NewGUID:       func() string { return "00000000-0000-4000-8000-000000000001" },
		Providers: func(ns, kind string) (*document.Object, bool) {
			return document.NewObject("resourceType", kind, "apiVersions", []any{"2024-01-01"}), ns == "Microsoft.Web"
		},
		Zones: func(_, kind, _ string) ([]string, bool) { return []string{"1", "2", "3"}, kind == "publicIPAddresses" },
	}
}

func TestFunctions(t *testing.T) {
	f := evaluator(t)
	for _, tt := range []struct{ expression, want string }{
		// strings
		{"[concat('a', 1, true())]", `"a1True"`},
		{"[concat(createArray(1), createArray('x'))]", `[1,"x"]`},
		{"[base64('ä')]", `"w6Q="`}, {"[base64ToString('w6Q=')]", `"ä"`}, {"[base64ToJson(base64('{\"a\":1}'))]", `{"a":1}`},
		{"[dataUri('x')]", `"data:text/plain;charset=utf8;base64,eA=="`}, {"[dataUriToString(dataUri('x'))]", `"x"`}, {"[dataUriToString('data:,a%20b')]", `"a b"`},
		{"[startsWith('Abc', 'aB')]", "true"}, {"[endsWith('abC', 'Bc')]", "true"}, {"[contains('abc', 'B')]", "false"},
		{"[format('{0}-{1:D4}|{1,5}|{1,-4}|{{}}|{2:N1}|{3:X2}', 'a', 42, 1234567, 10)]", `"a-0042|   42|42  |{}|1,234,567.0|0A"`},
		{"[indexOf('aBcb', 'b')]", "1"}, {"[lastIndexOf('aBcb', 'B')]", "3"}, {"[indexOf('abc', 'x')]", "-1"}, {"[indexOf('😀b', 'b')]", "2"},
		{"[join(createArray('a', 1), ', ')]", `"a, 1"`}, {"[padLeft(7, 3, '0')]", `"007"`}, {"[padLeft('long', 2)]", `"long"`},
		{"[replace('aXbX', 'X', '')]", `"ab"`}, {"[split('a,b;c', createArray(',', ';'))]", `["a","b","c"]`}, {"[split('a', ',')]", `["a"]`},
		{"[string(createObject('a', 1))]", `"{\"a\":1}"`}, {"[string(true())]", `"True"`}, {"[string(float('1.5'))]", `"1.5"`},
		{"[substring('hello', 1, 3)]", `"ell"`}, {"[substring('hello', 3)]", `"lo"`}, {"[substring('hello', 3, 3)]", "error"},
		{"[toLower('AÄ')]", `"aä"`}, {"[toUpper('aä')]", `"AÄ"`}, {"[trim('  a b ')]", `"a b"`},
		{"[uri('http://contoso.org/firstpath', 'myscript.sh')]", `"http://contoso.org/myscript.sh"`},
		{"[uri('http://contoso.org/firstpath/', 'myscript.sh')]", `"http://contoso.org/firstpath/myscript.sh"`},
		{"[uriComponent('a b/ä+~')]", `"a%20b%2F%C3%A4%2B~"`}, {"[uriComponentToString('a%20b')]", `"a b"`},
		{"[uniqueString('hello', 'world')]", `"a7wkljktk6wne"`},
		{"['it''s']", `"it's"`}, {"[concat('it''s')]", `"it's"`}, {"[[literal]", `"[literal]"`}, {"[open", `"[open"`}, {"", `""`},
		// arrays and objects
		{"[array('a')]", `["a"]`}, {"[array(createArray())]", `[]`}, {"[empty('')]", "true"}, {"[empty(createObject('a', null()))]", "false"}, {"[empty(null())]", "true"},
		{"[first('abc')]", `"a"`}, {"[last(createArray(1, 2))]", "2"}, {"[first(createArray())]", "null"},
		{"[length('😀')]", "2"}, {"[length(createObject('a', 1))]", "1"}, {"[max(1, 3, 2)]", "3"}, {"[min(createArray(4, 2))]", "2"}, {"[min(createArray())]", "error"},
		{"[range(3, 3)]", "[3,4,5]"}, {"[range(0, 10001)]", "error"}, {"[skip(createArray(1, 2, 3), 1)]", "[2,3]"}, {"[take('abc', 2)]", `"ab"`}, {"[take('abc', -1)]", `""`},
		{"[union(createArray(1, 2), createArray(2, 3))]", "[1,2,3]"},
		{"[union(json('{\"a\":{\"x\":1},\"b\":[1]}'), json('{\"A\":{\"y\":2},\"b\":[2]}'))]", `{"a":{"x":1,"y":2},"b":[2]}`},
		{"[intersection(createArray(1, 2, 3), createArray(3, 2))]", "[2,3]"}, {"[intersection(json('{\"a\":1,\"b\":2}'), json('{\"a\":1,\"b\":3}'))]", `{"a":1}`},
		{"[items(json('{\"b\":1,\"a\":2}'))]", `[{"key":"a","value":2},{"key":"b","value":1}]`}, {"[objectKeys(json('{\"b\":1,\"a\":2}'))]", `["a","b"]`},
		{"[shallowMerge(createArray(json('{\"a\":{\"x\":1}}'), json('{\"a\":{\"y\":1}}')))]", `{"a":{"y":1}}`},
		{"[flatten(createArray(createArray(1), createArray(2, 3)))]", "[1,2,3]"}, {"[indexFromEnd(createArray(1, 2), 1)]", "2"}, {"[tryIndexFromEnd(createArray(1), 2)]", "null"},
		{"[tryGet(variables('v'), 'list', 1)]", "2"}, {"[tryGet(variables('v'), 'none', 1)]", "null"}, {"[contains(variables('v'), 'NAME')]", "true"},
		{"[variables('v').list[1]]", "2"}, {"[variables('v')['name']]", `"x"`}, {"[variables('v').?none]", "null"}, {"[variables('v')[?'none']]", "null"},
		{"[variables('v').none]", "error"}, {"[variables('v').list[3]]", "error"}, {"[variables('v').list.x]", "error"}, {"[variables('chain')]", `"x"`}, {"[variables('me')]", "error"},
		{"[variables('loop')]", "[10,11,12]"}, {"[json('{\"a\": [1, 2]}').a[0]]", "1"}, {"[json('null')]", "null"}, {"[createObject('a', 1, 'b')]", "error"},
		// numbers
		{"[add(1, -2)]", "-1"}, {"[sub(1, 2)]", "-1"}, {"[mul(-3, 4)]", "-12"}, {"[div(7, 2)]", "3"}, {"[mod(7, 3)]", "1"}, {"[div(1, 0)]", "error"}, {"[mod(1, 0)]", "error"},
		{"[add(9223372036854775807, 1)]", "error"}, {"[mul(4294967296, 4294967296)]", "error"}, {"[sub(-9223372036854775807, 2)]", "error"}, {"[mul(-4611686018427387904, 2)]", "-9223372036854775808"},
		{"[int('42')]", "42"}, {"[int('x')]", "error"}, {"[float('1.5')]", "1.5"}, {"[float(3)]", "3.0"}, {"[9223372036854775808]", "error"},
		// comparison and logic
		{"[equals('a', 'A')]", "false"}, {"[equals(json('{\"a\":1}'), json('{\"A\":1}'))]", "true"}, {"[equals(null(), null())]", "true"}, {"[less(1, 2)]", "true"}, {"[greater('b', 'a')]", "true"},
		{"[lessOrEquals(2, 2)]", "true"}, {"[greaterOrEquals(1, 2)]", "false"}, {"[less('a', 1)]", "error"},
		{"[if(true(), 'yes', div(1, 0))]", `"yes"`}, {"[if('x', 1, 2)]", "error"}, {"[and(false(), div(1, 0))]", "false"}, {"[or(true(), div(1, 0))]", "true"}, {"[and(true(), 1)]", "error"},
		{"[not(false())]", "true"}, {"[bool('TRUE')]", "true"}, {"[bool(0)]", "false"}, {"[bool('x')]", "error"}, {"[coalesce(null(), 'b')]", `"b"`}, {"[coalesce(null())]", "null"},
		// dates
		{"[dateTimeAdd('2020-04-07 14:53:14Z', 'P3Y')]", `"4/7/2023 2:53:14 PM"`}, {"[dateTimeAdd('2020-04-07 14:53:14Z', '-P9D', 'yyyy-MM-dd')]", `"2020-03-29"`},
		{"[dateTimeAdd('20200407T145314Z', 'PT1H30M0.5S', 'HH:mm:ss.fff')]", `"16:23:14.500"`}, {"[dateTimeAdd('2020-04-07', 'P', 'd')]", "error"}, {"[dateTimeAdd('x', 'P1D')]", "error"},
		{"[dateTimeFromEpoch(0)]", `"1970-01-01T00:00:00Z"`}, {"[dateTimeToEpoch('1970-01-02T00:00:00Z')]", "86400"}, {"[utcNow()]", "error"}, {"[newGuid()]", "error"},
		// lambdas
		{"[filter(createArray(1, 2, 3), lambda('n', greater(lambdaVariables('n'), 1)))]", "[2,3]"},
		{"[map(range(0, 3), lambda('n', 'i', add(lambdaVariables('n'), lambdaVariables('i'))))]", "[0,2,4]"},
		{"[reduce(range(1, 4), 0, lambda('s', 'n', add(lambdaVariables('s'), lambdaVariables('n'))))]", "10"},
		{"[sort(createArray(3, 1, 2), lambda('a', 'b', less(lambdaVariables('a'), lambdaVariables('b'))))]", "[1,2,3]"},
		{"[toObject(createArray('a', 'b'), lambda('k', lambdaVariables('k')), lambda('k', toUpper(lambdaVariables('k'))))]", `{"a":"A","b":"B"}`},
		{"[groupBy(createArray('aa', 'b', 'ab'), lambda('s', first(lambdaVariables('s'))))]", `{"a":["aa","ab"],"b":["b"]}`},
		{"[mapValues(json('{\"a\":1}'), lambda('v', add(lambdaVariables('v'), 1)))]", `{"a":2}`},
		{"[map(createArray(1), lambda('a', map(createArray(2), lambda('b', add(lambdaVariables('a'), lambdaVariables('b'))))))]", "[[3]]"},
		{"[lambda('a', 1)]", "error"}, {"[lambdaVariables('a')]", "error"}, {"[filter(createArray(1), 'x')]", "error"}, {"[filter(createArray(1), lambda('a', 'x'))]", "error"},
		{"[my.twice(21)]", "42"}, {"[MY.Twice('x')]", "error"}, {"[my.none(1)]", "error"}, {"[my.twice()]", "error"},
		// resources
		{"[resourceId('Microsoft.Network/virtualNetworks', 'v')]", `"/subscriptions/sub/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v"`},
		{"[resourceId('other', 'Microsoft.Network/virtualNetworks/subnets', 'v', 's')]", `"/subscriptions/sub/resourceGroups/other/providers/Microsoft.Network/virtualNetworks/v/subnets/s"`},
		{"[resourceId('s2', 'g2', 'A.B/c', 'd')]", `"/subscriptions/s2/resourceGroups/g2/providers/A.B/c/d"`}, {"[resourceId('A.B/c', 'd', 'e')]", "error"},
		{"[resourceId('A.B/c', '')]", "error"}, {"[resourceId('A', 'b')]", "error"},
		{"[subscriptionResourceId('A.B/c', 'd')]", `"/subscriptions/sub/providers/A.B/c/d"`}, {"[tenantResourceId('A.B/c', 'd')]", `"/providers/A.B/c/d"`},
		{"[extensionResourceId(resourceId('A.B/c', 'd'), 'Microsoft.Authorization/locks', 'l')]", `"/subscriptions/sub/resourceGroups/rg/providers/A.B/c/d/providers/Microsoft.Authorization/locks/l"`},
		{"[resourceGroup().location]", `"westeurope"`}, {"[subscription().tenantId]", `"ten"`}, {"[deployment().name]", `"dep"`}, {"[managementGroup()]", "error"}, {"[tenant()]", "error"},
		{"[providers('Microsoft.Web', 'sites').apiVersions[0]]", `"2024-01-01"`}, {"[providers('None')]", "error"},
		{"[pickZones('Microsoft.Network', 'publicIPAddresses', 'westus2', 2, 1)]", `["2","3"]`}, {"[pickZones('Microsoft.Network', 'none', 'westus2')]", "error"},
		{"[reference('x')]", "error"}, {"[listKeys('x', '2024-01-01')]", "error"}, {"[copyIndex()]", "error"},
		// names in any case, spaces, and what is not the language
		{"[ CONCAT( 'a' , 'b' ) ]", `"ab"`}, {"[unknown('x')]", "error"}, {"[concat('a'", `"[concat('a'"`}, {"[concat('a']", "error"}, {"[concat('a' 'b')]", "error"}, {"[concat]", "error"},
		{"[concat('a')] ", `"[concat('a')] "`}, {"[concat('a'))]", "error"}, {"[equals(1)]", "error"}, {"[]", "error"}, {"[1.5]", "error"}, {"[-3]", "-3"}, {"[concat('a').]", "error"},
	} {
		v, err := f.value(tt.expression)
		got := "error"
		if err == nil {
			got = document.Text(v)
		}
		if got != tt.want {
			t.Errorf("%s = %s, %v, want %s", tt.expression, got, err, tt.want)
		}
	}
}

func TestDefaultsMayAskForTimeAndGUID(t *testing.T) {
	f := evaluator(t)
	f.initial = true
	for expression, want := range map[string]string{
		"[utcNow()]": `"20261124T090507Z"`, "[utcNow('yyyy-MM-dd HH:mm')]": `"2026-11-24 09:05"`, "[utcNow('d')]": `"11/24/2026"`, "[utcNow('o')]": `"2026-11-24T09:05:07.1200000Z"`,
		"[utcNow('h:m tt ''at'' H')]": `"9:5 AM at 9"`, "[newGuid()]": `"00000000-0000-4000-8000-000000000001"`, "[utcNow('u')]": `"2026-11-24 09:05:07Z"`,
	} {
		if v, err := f.value(expression); err != nil || document.Text(v) != want {
			t.Errorf("%s = %s, %v, want %s", expression, document.Text(v), err, want)
		}
	}
	if _, err := f.value("[utcNow('KK')]"); err == nil {
		t.Error("an unknown format is taken")
	}
}

// Every function of the language is tried by name: none is a stub.
func TestEveryFunctionIsCalled(t *testing.T) {
	f := evaluator(t)
	for name, fn := range functions {
		if _, err := f.value("[" + name + "(" + strings.Repeat("1,", 40) + "1)]"); err == nil && fn.most >= 0 {
			t.Errorf("%s takes 41 arguments", name)
		}
	}
	if len(functions) < 100 {
		t.Errorf("there are %d functions", len(functions))
	}
}

func TestDeepAndLongExpressionsAreRefused(t *testing.T) {
	f := evaluator(t)
	for _, text := range []string{
		"[" + strings.Repeat("not(", 300) + "true()" + strings.Repeat(")", 300) + "]",
		"[concat('" + strings.Repeat("x", maxExpressionBytes) + "')]",
	} {
		if _, err := f.value(text); err == nil || len(err.Error()) > 1000 {
			t.Errorf("%.40s: %.100v", text, err)
		}
	}
}

func FuzzExpression(f *testing.F) {
	for _, seed := range []string{"[concat('a', variables('v').list[0])]", "[if(equals(1, 2), 'a', format('{0,3}', 1))]", "[map(range(0, 3), lambda('n', lambdaVariables('n')))]", "[a.b('''')]", "[dateTimeAdd('2020-01-01', 'P1D')]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := evaluator(t).value(text)
		if err == nil {
			_ = document.Text(v)
		}
	})
}
