"""A Secret Service for dbusmock, with one item and a fault of choice.

    python3 -m dbusmock --session --template mock.py -p '{"fault": "hang", "at": "OpenSession"}'

`fault` is `hang`, `deny` or `slow`, which takes `seconds`; `at` is the method that has it, by
default each of them. The item is of service `baseten-profile`, with the secret `s3cret`.
"""

import dbus

BUS_NAME = "org.freedesktop.secrets"
MAIN_OBJ = "/org/freedesktop/secrets"
MAIN_IFACE = "org.freedesktop.Secret.Service"
SYSTEM_BUS = False

COLLECTION = f"{MAIN_OBJ}/collection/login"
ITEM = f"{COLLECTION}/1"
SECRET = "dbus.Struct((args[-1], b'', b's3cret', 'text/plain'), signature='oayays')"
ITEMS = f"dbus.Array(['{ITEM}'], signature='o'), dbus.Array([], signature='o')"
NO_PROMPT = "dbus.ObjectPath('/')"

# Clients try encryption first, and fall back on this error.
OPEN_SESSION = f"""
if args[0] != 'plain':
    raise dbus.exceptions.DBusException('plain only', name='org.freedesktop.DBus.Error.NotSupported')
ret = ('', dbus.ObjectPath('{MAIN_OBJ}/session/1'))
"""

SERVICE_METHODS = [
    ("OpenSession", "sv", "vo", OPEN_SESSION),
    ("SearchItems", "a{ss}", "aoao", f"ret = {ITEMS}"),
    ("Unlock", "ao", "aoo", f"ret = (args[0], {NO_PROMPT})"),
    ("ReadAlias", "s", "o", f"ret = dbus.ObjectPath('{COLLECTION}')"),
    ("GetSecrets", "aoo", "a{o(oayays)}", f"ret = dict.fromkeys(args[0], {SECRET})"),
]
COLLECTION_METHODS = [
    ("SearchItems", "a{ss}", "ao", f"ret = dbus.Array(['{ITEM}'], signature='o')"),
    ("CreateItem", "a{sv}(oayays)b", "oo", f"ret = (dbus.ObjectPath('{ITEM}'), {NO_PROMPT})"),
]
ITEM_METHODS = [
    ("GetSecret", "o", "(oayays)", f"ret = {SECRET}"),
    ("SetSecret", "(oayays)", "", ""),
    ("Delete", "", "o", f"ret = {NO_PROMPT}"),
]
FAULTS = {
    "hang": "__import__('time').sleep(3600)",
    "deny": "raise dbus.exceptions.DBusException('denied', name='org.freedesktop.DBus.Error.AccessDenied')",
    "slow": "__import__('time').sleep({seconds})",
}


def load(mock, parameters):
    at = parameters.get("at")
    fault = FAULTS[parameters["fault"]].format(**parameters)

    def faulty(methods):
        return [
            (name, takes, gives, f"{fault}\n{code}" if at in (None, name) else code)
            for name, takes, gives, code in methods
        ]

    collections = dbus.Array([COLLECTION], signature="o")
    mock.AddProperties(MAIN_IFACE, {"Collections": collections})
    mock.AddMethods(MAIN_IFACE, faulty(SERVICE_METHODS))
    for path in (COLLECTION, f"{MAIN_OBJ}/aliases/default"):
        mock.AddObject(
            path,
            "org.freedesktop.Secret.Collection",
            {"Label": "login", "Locked": False, "Items": dbus.Array([ITEM], signature="o")},
            faulty(COLLECTION_METHODS),
        )
    attributes = dbus.Dictionary({"service": "baseten-profile"}, signature="ss")
    mock.AddObject(
        ITEM,
        "org.freedesktop.Secret.Item",
        {"Label": "mock", "Locked": False, "Attributes": attributes},
        faulty(ITEM_METHODS),
    )
