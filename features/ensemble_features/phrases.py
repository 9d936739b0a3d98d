r"""How assistants refuse, call themselves an AI, and apologize, language by language.

Parts of regular expressions (Rust's ``regex`` crate) for text in lower case with plain apostrophes.
"I cannot" alone stands in every story: a refusal also names what an assistant is asked for (help,
answer, provide). ``\b`` is taken for ASCII letters alone, and stands after such.
"""

from __future__ import annotations

from typing import NamedTuple

CLAUSE = r"[^.!?;,:\n।。]*?"
"""Other words of the same clause."""


class Phrases(NamedTuple):
    """The phrases of one language."""

    cannot: str
    """The writer will or can not."""
    requests: str
    """What follows ``cannot`` and ``gap`` where it is a refusal."""
    identity: str
    """The writer is an AI or a language model."""
    apology: str
    """The writer is sorry."""
    gap: str = " "
    """What stands between ``cannot`` and ``requests``."""
    others: str = ""
    """Refusals of another form."""
    spaced: bool = True
    """Whether words are parted by spaces, so that a phrase begins where no letter precedes it."""

    def refusal(self) -> str:
        """Give the pattern of all refusals."""
        usual = f"(?:{self.cannot}){self.gap}(?:{self.requests})"
        return f"{usual}|{self.others}" if self.others else usual


PHRASES = {
    "English": Phrases(
        r"i (?:cannot|can't|can not|could not|won't|will not|won't be able to|must decline to"
        r"|am unable to|am not (?:able|allowed|programmed) to|have to decline to)"
        r"|i'm (?:unable|not able|not allowed|not programmed) to",
        r"help (?:you|with|anyone|in)\b|help(?: here| there)?[.,!;]|assist|provide|offer|answer"
        r"|give (?:you|out|any|instructions|advice|medical|legal|financial|specific)\b|respond"
        r"|fulfil|comply|complete (?:this|that|your)|create|generate|produce|do (?:that|this|so)\b"
        r"|write (?:that|this|an?|any|content|code|such|about|explicit)\b|share|discuss|support"
        r"|participate|engage|continue with|promote|condone|endorse|encourage|facilitate|advise"
        r"|disclose|reveal|access|browse|perform|execute|process|make (?:that|this|up)\b"
        r"|speculate|diagnose|prescribe|fabricate|pretend|impersonate|role.?play|accommodate"
        r"|carry out|agree to|go into|(?:run|open|view) (?:code|programs|links|files|images)\b",
        r"as an? (?:ai|artificial intelligence|(?:large )?language model)\b|as an assistant,"
        r"|i(?:'m| am) (?:just |only )?an? (?:ai|(?:large )?language model)\b",
        r"(?:sorry|apologize|apologies|apologise)\b",
        gap=r"(?: in good conscience| really| directly| ethically| legally| simply| just)? ",
        others=r"(?:as an ai|language model),? i (?:cannot|can't|am (?:unable|not able))"
        r"|sorry,? (?:but )?i (?:cannot|can't|won't)|i don't feel comfortable"
        r"|i(?:'m| am) not comfortable|i (?:must|have to) (?:respectfully )?(?:decline|refuse)\b"
        r"|against my (?:guidelines|programming|polic)|not (?:appropriate|ethical) to\b",
    ),
    "Spanish": Phrases(
        r"no (?:puedo|podemos|podré|soy capaz de|me es posible|voy a)"
        r"|no estoy (?:autorizad[oa]|programad[oa]|capacitad[oa]) (?:para|a)",
        r"(?:ayudar|asistir|proporcion|ofrecer|brindar|facilitar|responder|contestar|cumplir"
        r"|atender|satisfacer|crear|generar|escribir|redactar|compartir|participar|discutir"
        r"|hablar (?:de|sobre)|dar(?:te|le|les)? (?:instruc|consej|informaci|recomend|detalle)"
        r"|dar(?:te|le|les)? una? "
        r"|hacer (?:eso|esto)|realizar es[at]|apoyar|revelar|acceder|continuar con|ejecutar)",
        r"como (?:un |una )?(?:modelo de (?:lenguaje|ia)|ia\b|inteligencia artificial|asistente)"
        rf"{CLAUSE},? (?:(?:yo|mi|mis|soy|estoy|tengo|puedo|carezco|debo)\b"
        r"|no (?:tengo|puedo|soy|estoy|poseo|siento|experimento|debo)\b)"
        r"|soy (?:solo |sólo )?una? (?:modelo de lenguaje|ia\b|inteligencia artificial)",
        r"(?:lo siento|lo lamento|lamento|disculpa|disculpe|disculpas|perdón)\b",
        gap=r"(?: te| le| les)? ",
        others=r"lo siento,? (?:pero )?no puedo|lamento no poder",
    ),
    "French": Phrases(
        r"je (?:ne |n')?(?:peux|pourrai|puis)(?: malheureusement| hélas)? pas"
        r"|je ne suis (?:malheureusement )?pas (?:en mesure|capable|autorisée?) (?:de|à|d')"
        r"|je suis (?:malheureusement )?(?:incapable|dans l'incapacité) (?:de|d')"
        r"|il m'est impossible (?:de|d')",
        r"aider|assister|fournir|répondre|donner (?:d|suite)|proposer|offrir|accéder à|satisfaire"
        r"|créer|générer|écrire (?:ce|de|du|un)|rédiger|partager|participer|discuter|parler de"
        r"|faire (?:cela|ça)|soutenir|révéler|continuer|effectuer|exécuter|traiter|apporter"
        r"|conseiller",
        r"en tant qu(?:e |')(?:un |une )?(?:grand )?(?:modèle (?:de langage|linguistique|d'ia)|ia\b"
        r"|intelligence artificielle|assistante? (?:virtuel|ia\b|d'ia))"
        r"|je (?:ne )?suis (?:qu')?une? (?:modèle de langage|ia\b|intelligence artificielle)",
        r"(?:désolée?|excusez|excuse-moi|mes excuses|pardon|navrée?)",
        gap=r" ?(?:malheureusement |vous |te |t'|y |l')*",
    ),
    "German": Phrases(
        r"ich (?:kann|darf|werde)|(?:kann|darf|werde) ich",
        rf"(?:nicht|keine?[nrs]?) (?:{CLAUSE} )?(?:helfen|weiterhelfen|beantworten|antworten|geben"
        r"|unterstützen|bereitstellen|anbieten|erfüllen|erstellen|verfassen|teilen|liefern"
        r"|behilflich|nachkommen|empfehlen|generieren|diskutieren|ausführen|erteilen|eingehen)\b",
        rf"als (?:{CLAUSE}[ -])?(?:ki\b|(?:ki-)?sprachmodell|künstliche intelligenz"
        rf"|ki-assistent(?:in)?){CLAUSE} ich\b"
        r"|ich bin (?:nur |lediglich )?eine? (?:ki\b|ki-|großes |)(?:sprachmodell"
        r"|künstliche intelligenz|ki\b)",
        r"(?:tut mir (?:sehr )?leid|entschuldigung|entschuldigen sie|verzeihung|bedauer)",
        gap=rf" (?:{CLAUSE} )?",
        others=r"(?:das|dies) kann ich (?:leider )?nicht (?:tun|machen)\b"
        r"|ich bin (?:leider )?nicht in der lage|ist (?:es )?mir (?:leider )?nicht möglich",
    ),
    "Portuguese": Phrases(
        r"não (?:posso|podemos|poderei|consigo|sou capaz de|me é possível|estou autorizad[oa] a)",
        r"ajud|auxiliar|fornecer|responder|atender|cumprir|criar|gerar|escrever|redigir|compartilh"
        r"|partilhar|participar|discutir|oferecer|prestar|dar uma? "
        r"|dar (?:instru|consel|informa|detalhe)"
        r"|fazer iss[oa]|realizar es[st]|continuar com|apoiar|revelar|acessar|aceder|colaborar"
        r"|executar",
        r"(?:como|enquanto|sendo) (?:um |uma )?(?:modelo de (?:linguagem|ia)|ia\b"
        rf"|inteligência artificial|assistente){CLAUSE},? (?:(?:eu|meu|minha|sou|estou|tenho|posso"
        r"|devo)\b|não (?:tenho|posso|sou|estou|possuo|sinto|devo)\b)"
        r"|sou (?:apenas |só )?uma? (?:modelo de linguagem|ia\b|inteligência artificial)",
        r"(?:desculpe|desculpa|desculpas|sinto muito|lamento|perdão)\b",
        gap=r"(?: te| lhe| o| a)? ",
        others=r"lamento,? (?:mas )?não poder",
    ),
    "Italian": Phrases(
        r"non (?:posso|possiamo|potrò|sono (?:in grado|capace) di|mi è possibile"
        r"|sono autorizzat[oa] a)",
        r"aiutar|assister|fornir|offrir|risponder|soddisfar|esaudir|crear|generar|condivider"
        r"|scriver(?:e (?:quest|contenut|un)|ti)|partecipar|discuter|parlare di|farlo"
        r"|dar(?:e|ti|le|vi) (?:istruzion|consigl|informazion|dettagl|un)|fare (?:questo|ciò)"
        r"|supportar|rivelar|acceder|continuare con|eseguir|completare quest|elaborar",
        r"(?:come|in quanto|essendo) (?:un |un'|una )?(?:modello (?:linguistico|di linguaggio)"
        rf"|ia\b|intelligenza artificiale|assistente){CLAUSE},? (?:(?:io|mio|mia|sono|ho|posso"
        r"|devo)\b|non (?:ho|posso|sono|possiedo|provo|devo)\b)"
        r"|sono (?:solo |soltanto )?un(?: |')?a? ?(?:modello (?:linguistico|di linguaggio)|ia\b"
        r"|intelligenza artificiale)",
        r"(?:mi dispiace|mi spiace|scusa|scusami|scusate|scusi|mi scuso|chiedo scusa)\b",
        gap=r"(?: purtroppo)? ",
    ),
    "Dutch": Phrases(
        r"ik (?:kan|mag|zal)|(?:kan|mag|zal) ik",
        rf"(?:niet|geen) (?:{CLAUSE} )?(?:helpen|geven|beantwoorden|antwoorden|bieden|voldoen"
        r"|verstrekken|assisteren|ondersteunen|aanbieden|uitvoeren|delen|schrijven|genereren"
        r"|ingaan|doorgaan|van dienst)\b",
        rf"als (?:een )?(?:groot )?(?:ai\b|taalmodel|kunstmatige intelligentie){CLAUSE},?"
        rf"{CLAUSE} ik\b|ik ben (?:slechts |maar )?een (?:ai\b|(?:groot )?taalmodel"
        r"|kunstmatige intelligentie)",
        r"(?:het spijt m|spijt me|mijn excuses|excuses|excuseer|pardon)",
        gap=rf" (?:{CLAUSE} )?",
        others=r"dat kan ik (?:helaas )?niet doen\b|ik ben (?:helaas )?niet in staat",
    ),
    "Polish": Phrases(
        r"nie (?:mogę|możemy|jestem w stanie|potrafię|będę mógł|będę mogła|wolno mi)",
        r"pomóc|pomagać|podać|podawać|udzieli|udziela|odpowiedzieć|odpowiadać|spełni|wykonać te"
        r"|zrealizowa|stworzyć|tworzyć|napisać te|dostarcz|udostępni|zapewni|wspiera|dyskutowa"
        r"|rozmawiać|tego zrobić|zrobić tego|kontynuowa|wygenerowa|generowa|zaoferowa|doradza"
        r"|uczestniczy",
        r"jako (?:duży )?(?:model językowy|sztuczna inteligencja|ai\b|si\b|asystent(?: ai)?\b)"
        rf"{CLAUSE},? (?:nie )?(?:ja|mam|mogę|jestem|posiadam|odczuwam|potrafię) "
        r"|jestem (?:tylko )?(?:modelem językowym|sztuczną inteligencją|ai\b)",
        r"(?:przykro mi|przepraszam|wybacz)",
        gap=r"(?: ci| panu| pani| państwu| wam| w tym| z tym| na to| niestety)* ",
    ),
    "Turkish": Phrases(
        r"yardımcı ola|yardım ede|destek vere|cevap vere|yanıt vere|talimat vere|bilgi vere"
        r"|tavsiye vere|yanıtlaya|cevaplaya|sağlaya|suna|yerine getire|karşılaya|paylaşa|oluştura"
        r"|ürete|yaza|destekleye|bunu yapa|tartışa|önere|gerçekleştire",
        r"(?:mam|mem|mıyorum|miyorum|mayız|meyiz|mıyoruz|miyoruz)\b",
        r"(?:yapay zek[aâ](?: (?:dil )?modeli| asistanı)?|dil modeli) (?:olarak|olduğum için)"
        r"[^.!?\n]*?(?:[ıiuü]m|yok|[ae]m)\b|ben (?:sadece )?bir (?:yapay zek|dil modeliyim)",
        r"(?:üzgünüm|özür dilerim|kusura bakma|affedersin)",
        gap="",
    ),
    "Russian": Phrases(
        r"не (?:могу|можем|смогу)|я не (?:буду|в состоянии|способен|способна|вправе)"
        r"|не имею (?:возможности|права)",
        r"помо[чг]|предостав|ответ|отвеч|выполн|созда|писать|дать|делиться|обсужда|поддерж|участв"
        r"|рассказ|подсказ|давать|сделать это|это(?:го)? сделать|предлож|продолж|сгенерир|генерир"
        r"|удовлетвор",
        r"как (?:большая |ии-)?(?:языковая модель|искусственный интеллект|нейросеть|ии"
        rf"|виртуальный ассистент){CLAUSE}, (?:у меня|я|мне|мои) "
        r"|я (?:всего лишь |просто |лишь |— |- )*(?:языковая модель|искусственный интеллект"
        r"|ии[ ,.])",
        r"(?:извини|прости(?:те)?[,.! ]|прошу прощения|сожалею|мне жаль)",
        gap=r"(?: вам| тебе| вас| этого| это| дать| на| с| больше| просто| напрямую)* (?:на|по)?",
    ),
    "Ukrainian": Phrases(
        r"не (?:можу|можемо|зможу)|я не (?:буду|в змозі|здатен|здатна)|не маю (?:можливості|права)",
        r"допом|нада|відповіс|відповід|викон|створ|писати|дати|поділит|ділит|обговор|підтрим"
        r"|розпові|підказ|давати|зробити ц(?:е|ього)|ц(?:е|ього) зробити|запропон|продовж|згенер"
        r"|генер|задовол",
        r"як (?:велика |ші-)?(?:мовна модель|штучний інтелект|нейромережа|ші"
        rf"|віртуальний асистент){CLAUSE}, (?:у мене|я|мені|мої) "
        r"|я (?:лише |просто |— |- )*(?:мовна модель|штучний інтелект|ші[ ,.])",
        r"(?:вибач|пробач|перепрош|прошу вибачення|мені шкода)",
        gap=r"(?: вам| тобі| вас| цього| це| на| з| більше| просто)* (?:на)?",
    ),
    "Arabic": Phrases(
        r"[وف]?(?:لا|لن|لم) (?:أستطيع|استطيع|يمكنني|أقدر|اقدر|يسعني|أتمكن من|اتمكن من)"
        r"|[وف]?(?:غير قادرة?|لست قادرا?ة?|لست قادرًا) على|ليس (?:بإمكاني|بوسعي|بمقدوري)",
        r"(?:ال|أن أ|ا)?(?:مساعد|ساعد|تقديم|قدم|إجابة|اجابة|جيب|تلبية|لبي|توفير|وفر|إنشاء|انشاء"
        r"|كتابة|مشارك|شارك|تنفيذ|قيام|دعم|إعطاء|عطي|إكمال|مناقش|ناقش|تحدث|استجاب|وصول|رد "
        r"|تزويد)",
        r"(?:ك|بصفتي |باعتباري |بوصفي )(?:مجرد )?(?:نموذجا?ً? ?(?:ا )?(?:لغوي|ذكاء)|ذكاء "
        r"(?:ا?ل?اصطناع)|مساعد(?:ا|ًا)? (?:ذكي|افتراضي|ذكاء))"
        r"|أنا (?:مجرد )?(?:نموذج (?:لغوي|لغة|ذكاء)|ذكاء اصطناعي)",
        r"(?:آسف|اسف|عذر[اًا]|أعتذر|اعتذر|معذرة)",
    ),
    "Hindi": Phrases(
        r"मैं|हम",
        r"नहीं (?:कर|दे|बता|लिख|बना|निभा) (?:सकता|सकती|सकते|पाऊँगा|पाऊंगा|पाऊँगी|पाऊंगी)",
        r"(?:एक )?(?:एआई|ए\.आई\.|ai|कृत्रिम बुद्धिमत्ता|भाषा मॉडल|आर्टिफिशियल इंटेलिजेंस)"
        r"(?: भाषा मॉडल| मॉडल| सहायक)? (?:के रूप में|होने के नाते|होने के कारण)"
        r"|मैं (?:केवल |सिर्फ़ |सिर्फ |बस )?एक (?:एआई|ai|भाषा मॉडल|कृत्रिम बुद्धिमत्ता)",
        r"(?:क्षमा कर|क्षमा चाह|माफ़ कर|माफ कर|माफ़ी चाह|माफी चाह|खेद है|क्षमा कीजिए|माफ़ कीजिए)",
        gap=rf"(?: {CLAUSE})?(?:मदद|सहायता|जवाब|उत्तर|निर्देश|जानकारी|सलाह|प्रदान|पूरा|यह|ऐसा|काम"
        rf"|सामग्री|राय){CLAUSE} ",
        others=rf"(?:मैं|हम) {CLAUSE}असमर्थ ",
    ),
    "Vietnamese": Phrases(
        r"(?:tôi|mình|em|chúng tôi) (?:rất tiếc )?(?:không thể|không có khả năng|chưa thể"
        r"|không được phép|sẽ không)",
        r"giúp|hỗ trợ|cung cấp|trả lời|đáp ứng|thực hiện (?:yêu cầu|điều)|tạo|viết|chia sẻ"
        r"|thảo luận|đưa ra|làm (?:điều|việc) (?:đó|này)|tham gia|hướng dẫn|tư vấn|tiết lộ"
        r"|truy cập|xử lý|nói về",
        r"(?:là|với tư cách là|với vai trò là) (?:một )?(?:mô hình ngôn ngữ|trí tuệ nhân tạo|ai\b"
        rf"|trợ lý (?:ai|ảo)|mô hình ai){CLAUSE},? (?:tôi|mình|em)\b"
        r"|tôi (?:chỉ )?là (?:một )?(?:mô hình ngôn ngữ|trí tuệ nhân tạo|ai\b|trợ lý (?:ai|ảo))",
        r"(?:xin lỗi|rất tiếc|thứ lỗi)",
        gap=r"(?: tiếp tục| trực tiếp)? ",
    ),
    "Indonesian": Phrases(
        r"(?:saya|aku|kami) (?:tidak|tak|belum) (?:dapat|bisa|mampu|boleh|akan|diizinkan)",
        r"membantu|memberi|menyediakan|menjawab|memenuhi|membuat (?:itu|konten|hal)|menulis|berbagi"
        r"|membagikan|mendukung|melakukan (?:itu|hal)|melayani|mendiskusikan|membahas"
        r"|menghasilkan|memproses|merespons|mengakses|melanjutkan",
        rf"(?:sebagai|selaku) (?:sebuah )?(?:model (?:bahasa|ai)|kecerdasan buatan|ai\b"
        rf"|asisten (?:ai|virtual)){CLAUSE},? (?:saya|aku|kami)\b"
        r"|saya (?:hanya |hanyalah |adalah )+(?:sebuah )?(?:model bahasa|kecerdasan buatan|ai\b)",
        r"(?:maaf|mohon maaf|maafkan)\b",
        gap=r"(?: untuk)? ",
    ),
    "Chinese": Phrases(
        r"(?:我们?|我們|本?人工智能|抱歉|对不起|對不起|遗憾|遺憾)[，,]?(?:我)?(?:目前|现在|現在|恐怕"
        r"|真的|并|並)?(?:无法|無法|不能|不可以|没办法|没有办法|沒辦法|不便|难以|難以)",
        r"帮|幫|协助|協助|提供|回答|回應|回应|满足|滿足|完成|执行|執行|生成|创作|創作|撰写|撰寫|写|寫"
        r"|产生|產生|创建|創建|建立|制作|製作|支持|讨论|討論|参与|參與|分享|给出|給出|继续|繼續|做[这那這到]|透露|遵从|访问|存取|处理"
        r"|處理|同意|进行|進行|答应|解答|给予",
        r"(?:作为|作為|身为|身為)(?:一个|一個|一名|一款|一位)?(?:大型|大)?(?:人工智[能慧]|语言模型"
        r"|語言模型|ai)|我(?:只)?是(?:一个|一個|一款|一名)?(?:大型|大)?(?:人工智[能慧]|语言模型"
        r"|語言模型|ai)",
        r"(?:抱歉|对不起|對不起|很遗憾|很遺憾|不好意思)",
        gap=r"(?:为您|为你|為您|為你|向您|向你|给您|给你|替您|直接|继续)?",
        spaced=False,
    ),
    "Japanese": Phrases(
        r"お(?:応え|答え|手伝い|教え|伝え|力になる)|ご(?:提供|案内|協力|説明|回答|支援|紹介|対応)"
        r"|(?:要望|依頼|質問|リクエスト|要求)に(?:は)?[^。\n]{0,8}",
        r"(?:でき|出来)(?:ません|かね)|(?:いたし|致し|し)かねます",
        r"(?:ai|人工知能|言語モデル|aiアシスタント)(?:の)?(?:言語モデル|モデル|アシスタント)?"
        r"(?:として|である私|ですので|なので)|私は(?:単なる)?(?:ai|人工知能|言語モデル)(?:です|であ|な)",
        r"(?:申し訳(?:ありません|ございません|ない)|すみません|すいません|ごめんなさい|恐れ入ります"
        r"|残念ながら)",
        gap=r"(?:する)?(?:こと)?(?:は|が|も)?",
        others=r"(?:生成|提供|回答|お話し|教える|手伝う)(?:する)?こと(?:は|が)(?:でき|出来)ません",
        spaced=False,
    ),
    "Korean": Phrases(
        r"도와줄\s?수|(?:도와|도움을?|답변을?|대답을?|알려|해|제공해|응답해|안내해|들어|말씀)\s?드릴\s?수(?:가|는)?"
        r"|(?:답변|대답|제공|지원|응답|수행|생성|작성|공유|안내|이행|협조|응)할\s?수(?:가|는)?",
        r"없(?:습니다|어요|네요)",
        r"(?:ai|인공지능|언어 모델|인공지능 모델)(?: 언어 모델| 모델| 어시스턴트| 비서)?"
        r"(?:로서|이기 때문에|이므로|으로서)"
        r"|저는 (?:단지 |그저 )?(?:ai|인공지능|언어 모델)(?: |입|이|일)",
        r"(?:죄송|미안)",
        gap=r"\s?",
        spaced=False,
    ),
    "Thai": Phrases(
        r"(?:ฉัน|ผม|เรา|ข้าพเจ้า|ขออภัย|ขอโทษ|เสียใจ)[ก-๙ ]{0,12}?ไม่สามารถ(?:ที่จะ)?",
        r"ช่วย|ให้|ตอบ|สร้าง|เขียน|ทำตาม|ดำเนินการ|สนับสนุน|แสดงความ|เปิดเผย|จัดทำ|ทำ|บอก|แนะนำ"
        r"|อธิบาย|พูดคุย|เข้าถึง|ปฏิบัติ",
        r"(?:ในฐานะ|เนื่องจากเป็น)(?:ที่เป็น)?\s?(?:โมเดลภาษา|แบบจำลองภาษา|ปัญญาประดิษฐ์|ai|เอไอ|ผู้ช่วย)"
        r"|(?:ฉัน|ผม)(?:เป็น|คือ)(?:เพียง)?\s?(?:โมเดลภาษา|แบบจำลองภาษา|ปัญญาประดิษฐ์|ai|เอไอ)",
        r"(?:ขออภัย|ขอโทษ|เสียใจด้วย)",
        gap="",
        others=r"(?:ฉัน|ผม|เรา)(?:ช่วย|ตอบ|บอก|ให้ข้อมูล|ทำแบบนั้น|ทำแบบนี้|ทำตาม)[ก-๙ ]{0,20}?ไม่ได้",
        spaced=False,
    ),
}
"""By the name of the language."""
