"""Words that mean nearly the same where databases are spoken of: a question says "pupils", the table is called student.

Written by hand from general English, for what databases often hold (people, places, schools, shops, travel, sports, money,
time); no data set was read for it. A word may stand in several groups. What else questions call things is learned from
their gold (`associations.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

from exspin.hints.folding import fold

_GROUPS = """
student pupil learner undergraduate scholar; teacher instructor professor lecturer educator tutor faculty; school college university
academy institution; course class subject lesson module; grade mark score; degree diploma qualification; major specialty discipline field
department division section unit faculty; classroom room hall; campus school university; semester term; advisor mentor adviser supervisor
exam test quiz examination; enrollment registration; enroll register attend take; homework assignment; education schooling training
employee worker staff personnel employe; staff personnel crew; manager supervisor boss head leader director; head chief leader chair
boss chief; job position occupation profession career work role post; salary wage pay income earning compensation; hire employ recruit
company firm business corporation enterprise organization; organization organisation institution association agency body; industry sector
owner proprietor possessor holder; person people individual human man; customer client buyer consumer shopper purchaser patron guest
user member account; member participant; client customer; supplier vendor provider seller; vendor seller merchant dealer
manufacturer maker producer builder creator brand; make produce manufacture build create; product item good merchandise commodity article
item thing article; store shop outlet market; shop store market retailer; brand label make; catalog catalogue list; order purchase
buy purchase order acquire; sale selling revenue; sell trade; price cost charge fee rate amount value; cost price expense fee charge
fee charge cost; payment pay settlement remittance; bill invoice receipt; invoice bill statement; discount reduction rebate; tax duty
budget fund finance; fund money capital; revenue income earning turnover sale; profit gain earning; loss deficit; amount quantity sum total number
quantity amount number count volume; money cash currency fund; balance remainder; loan credit debt borrowing; credit loan; bank lender
account profile; transaction deal trade exchange; asset property possession equipment; property estate house building asset; value worth
worth value; wealth fortune; share stock portion; stock inventory share; stake share
name title label; title name heading; nickname alias; first given forename; last family surname; surname lastname family
age old year; old age elderly; young age youth; birth born; birthday birth; born birth; death dead die died; gender sex; sex gender male female
height tall high; tall height; high height; weight heavy mass; heavy weight mass; light weight; weigh weight; cheap price cost; expensive price cost; rich wealth money; populous population; populated population
near distance; far distance; late time; short length height; fast speed; width wide breadth; length long; size area dimension large big
area region zone surface size; big large; large big; depth deep; long length duration; duration length time period; speed fast velocity pace
fast speed quick; color colour hue; shape form; material substance; temperature heat degree warm; volume capacity
marriage wedding matrimony; spouse wife husband partner; wife spouse; husband spouse; parent father mother; father dad parent; mother mom parent
child kid son daughter; kid child; son child; daughter child; friend buddy pal companion mate; relationship relation; family household
address location residence street place; live reside dwell inhabit; resident inhabitant citizen dweller; citizen resident inhabitant
location place site position spot where address venue; place location site position rank; position place rank post; site location place
city town municipality urban metropolis; town city village; country nation state land; nation country; nationality citizenship country nation origin
citizenship nationality; state province region country; province state region; region area district territory zone; district area region ward
county shire district; continent mainland; village hamlet settlement; capital headquarter; population inhabitant people resident
headquarter office base; office bureau workplace; street road avenue; road street highway route; river stream waterway; mountain peak hill mount
peak summit mountain; lake water pond; island isle; border boundary frontier; elevation altitude height; altitude elevation; climate weather
language tongue speech; speak talk; religion faith belief; government regime administration authority; mayor governor; president leader chief head
party group; election vote poll ballot; vote ballot poll election; candidate contender nominee applicant; voter elector; politician representative
representative delegate agent politician; committee board panel; law legislation rule act; crime offense; police cop; military army
stadium arena venue field ground; arena stadium venue; venue place location stadium site; concert show performance gig; show display program performance concert
performance show presentation; theater theatre cinema playhouse; cinema theater theatre movie; museum gallery exhibition; exhibition exhibit show display
festival fair celebration event; event activity occasion happening incident; party celebration; attendance audience turnout visitor; attend visit participate join
visit go attend tour; visitor guest tourist attendee caller; tourist traveler visitor traveller; audience spectator viewer attendance; viewer audience watcher
singer vocalist musician artist performer; artist painter performer musician singer creator; musician player artist performer singer; band group ensemble
song track music tune single; album record disc cd; music song; genre style category type kind; instrument tool device; orchestra symphony philharmonic
conductor director leader; volume issue; record album; perform play act; sing perform; composer songwriter writer; lyric word
movie film picture; film movie picture; actor performer star; actress actor; cast actor role; director filmmaker; episode part; series show program; tv television
television tv; channel station network; cartoon animation; character role figure; rating rank score star grade; review comment critique evaluation rating
star rating; broadcast air show; radio station; watch view; photo picture image photograph; image picture photo; camera lens
author writer novelist; writer author; book novel publication volume; publish issue release print; publisher press; publication book paper release
paper article publication document; article paper post; document file paper record; file document; paragraph passage; text content; template pattern format model
journal magazine periodical; magazine journal; newspaper paper press; library bookstore; page sheet; chapter section; story tale; poem verse; editor redactor
game match contest; match game contest competition fixture; competition contest tournament championship match; tournament competition championship
championship title tournament; team club squad side; club team association society; player athlete sportsman competitor; athlete player sportsman
coach trainer manager; sport athletics; league division; season year; win victory triumph; winner champion victor; victory win; lose defeat loss; defeat beat loss
point score; score point mark result grade; goal score; ranking rank position standing; rank ranking position place; record history log; medal award
award prize honor; prize award; race contest run; rider jockey; driver racer chauffeur; ball sphere; referee umpire; hand handed; result outcome
car auto automobile vehicle; vehicle car automobile transport; automobile car; engine motor; model type version kind; truck lorry; bike bicycle cycle
bicycle bike; horsepower power; cylinder chamber; accelerate acceleration; mileage mile; fuel gas petrol; train railway rail; railway railroad train
station stop terminal; ship vessel boat; boat ship vessel; aircraft plane airplane; airplane aircraft plane; plane aircraft airplane; pilot flyer aviator
airport airfield airdrome aerodrome; airline carrier airway; flight trip route; fly flight; arrive land destination; arrival destination; depart leave departure source
departure leave; destination target arrival; source origin departure start; origin source beginning; route path way line; trip journey travel tour; travel trip journey
passenger traveler rider; captain skipper; port harbor; hotel inn lodging; reservation booking; booking reservation; reserve book; apartment flat condo
room chamber; building construction structure edifice; house home building residence; bridge overpass; architect designer; construct build; designer architect
mill factory; factory plant mill; floor storey story level; facility amenity; kitchen cook; rent lease hire; tenant renter
pet animal; animal pet creature beast; dog puppy canine; cat kitten feline; breed kind type race; species kind; plant vegetation; tree wood; flower bloom
doctor physician medic; physician doctor; nurse caregiver; patient sick; hospital clinic infirmary; clinic hospital; disease illness sickness condition
allergy allergic reaction; medicine drug medication; medication medicine drug; drug medicine; treatment therapy cure; procedure operation; prescribe order
surgery operation; health medical; food meal dish cuisine; dish meal food; restaurant diner eatery; cuisine food; drink beverage; beverage drink; wine grape
grape wine; taste flavor flavour; flavor taste; menu card; cook chef; chef cook; ingredient component; vegetable food; fruit food; bakery baker; farm ranch
date day time; day date; time date hour; year annual; month monthly; week weekly; hour time; start begin commence; begin start; end finish close stop; finish end
open start; opening start; close end; period time duration era; founded established founding establish start; establish found create start; since from; recent late latest
latest recent last; early first; expire end; deadline due; current present now; schedule timetable plan; history past; update modify change; create make
phone telephone cellphone mobile number; telephone phone; mobile cell phone; email mail; mail email letter; contact phone; website site web url; link url; message text
computer pc machine; machine device; device gadget equipment machine; equipment device gear; software program application app; program software course show; browser
network net; code identifier id symbol; identifier id code; id identifier identification number; number id count no; identity id; password secret; key id; login signin
version edition release; release publish issue; market marketplace; security safety; hardware equipment; feature characteristic attribute property trait; characteristic feature attribute
attribute characteristic property; detail information description; description detail explanation; information detail data; data information; category type kind class group
type kind category sort class; kind type sort; class category grade; group team band category; status state condition; state status; condition status state; level degree grade rank
degree level; rate rating ratio; ratio proportion percent rate; percentage percent proportion share rate; proportion percent ratio; average mean; mean average; maximum highest largest biggest most
minimum lowest smallest least; total sum whole overall; sum total; count number total; frequency often; rank order; order sequence; priority importance
capacity size seat volume space; seat capacity chair; seating capacity seat; distance length far; investor shareholder; sponsor backer donor; donor giver; donation gift contribution
project plan program; task job work; plan scheme program; problem issue trouble fault; issue problem; fault defect error; error fault mistake; complaint grievance; product goods; part component piece
component part; piece part; tool instrument; resource asset; skill ability talent; ability skill; experience expertise; certificate license qualification; license permit certificate; permit license
contract agreement; agreement contract; policy plan insurance; claim demand; insurance policy; service help; help support; support assist help; reason cause; cause reason; purpose goal aim
comment remark note; note comment remark; remark comment; opinion view; like favorite prefer; favorite preferred favourite; tweet post; post article message; follower fan; fan supporter follower; celebrity star
battle fight war; war battle conflict; ship fleet; killed dead casualty death; injured wounded hurt; injury wound harm; damage harm destruction; accident crash incident; storm hurricane; earthquake quake
participant participator contestant entrant competitor; contestant participant competitor; competitor contestant rival; participate join attend take; host hold organize; organizer host; entry entrance
language tongue; official formal; treatment care; professional expert specialist; expert specialist; engineer technician; technician engineer; lawyer attorney; judge court; cleaner janitor; secretary clerk
wrestler fighter; swimmer swim; gymnast athlete; skier athlete; golfer player; boxer fighter; poker card; chess game; tennis racket; soccer football; football soccer; basketball hoop; baseball ball; hockey puck
abbreviation acronym short; acronym abbreviation; hometown birthplace; birthplace hometown birth; bonus premium reward extra; reward bonus prize; evaluation assessment appraisal review
ticket admission pass entry; transcript report record; report transcript document record; summary abstract outline; abstract summary; topic subject theme; theme topic subject; subject topic course
head leader chief; deputy vice; assistant aide helper; partner companion; colleague coworker; visitor guest; neighbor neighbour; enemy opponent; opponent rival competitor; leader head captain
house residence; flat apartment; furniture furnishing; clothes clothing garment; clothing clothes apparel; shoe footwear; jewelry gem; gift present; toy game; box container package; package parcel box
shipment delivery consignment; delivery shipment; deliver ship send; send deliver mail; receive get obtain; obtain get receive; buy get; own have possess; possess own have; hold have own; contain include have hold
include contain; consist comprise; belong own; use utilize employ apply; apply use request; request demand ask application; require need; need require; want desire; choose select pick; select choose; pick choose
show display present; present show; tell say; say tell state; call name phone; named called; teach instruct educate; study learn major; learn study; graduate finish; pass succeed; fail unsuccessful; success achievement
achievement accomplishment; win gain earn; earn make gain; gain earn; spend pay cost; pay spend; save keep; grow raise increase; increase raise rise; decrease reduce drop; reduce decrease; change modify alter; add insert
remove delete; cancel abort; cancelled canceled aborted; approve accept allow; reject refuse deny; check inspect; inspect check examine; repair fix mend; fix repair; break damage; happen occur; occur happen take place
stay live remain lodge; sleep rest; travel fly go; drive ride; ride drive; carry transport; transport carry shipping; load cargo; cargo freight load; weigh weight; measure size unit; unit measure; rain rainfall precipitation
precipitation rain; wind breeze; humidity moisture; snow ice; sun light; forest wood; desert sand; sea ocean; ocean sea; beach shore coast; coast shore; harbour harbor port; garden yard park; park garden; zoo animal
gold golden; silver metal; bronze metal; metal iron; oil petroleum; electricity power energy; energy power; power strength energy; strength power; weapon gun arm; bomb explosive; rocket missile; tank vehicle; soldier troop
chip semiconductor processor; processor cpu chip; memory ram storage; screen display; storage memory; wifi wireless; satellite orbit; astronaut cosmonaut; mission task expedition; planet world; protein enzyme
"""


def _read() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for group in _GROUPS.replace("\n", ";").split(";"):
        together = [fold(word) for word in group.split()]
        for word in together:
            found.setdefault(word, set()).update(together)
    return {word: frozenset(others - {word}) for word, others in found.items()}


_MEANT = _read()


def synonyms(word: str) -> frozenset[str]:
    """Folded words that mean nearly the same as a folded word, or as what it is a form of: "tallest" is of "tall"."""
    if word in _MEANT:
        return _MEANT[word]
    return next((_MEANT[base] for base in _bases(word) if base in _MEANT), frozenset())


def _bases(word: str) -> Iterator[str]:
    """What a comparative, a superlative or a form of a verb may come from."""
    for ending in ("est", "er", "ing", "ed"):
        base = word.removesuffix(ending)
        if len(word) - len(base) == len(ending) and len(base) >= 3:
            yield base
            yield base + "e"
            if base[-1] == "i":
                yield base[:-1] + "y"
