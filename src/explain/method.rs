//! The ways of explaining that can be asked for, by name. Used by the settings
//! and the classifier; must not know how maps are computed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How an activation map is computed from the feature map `A_k` (channels k)
/// and the gradient `G_k` of the explained logit, `Z` being the number of
/// positions of the feature map.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Method {
    /// `sum_k w_k A_k` with the weights of the one linear layer behind average
    /// pooling (Zhou et al. 2016). In logit units: its mean and the bias are
    /// the logit.
    Cam,
    /// `sum_k mean(G_k) A_k` (Selvaraju et al. 2017).
    GradCam,
    /// Grad-CAM with weights `sum(alpha_k relu(G_k))`, where `alpha_k = G_k^2 /
    /// (2 G_k^2 + sum(A_k) G_k^3 + eps)` (Chattopadhay et al. 2018, with `eps`
    /// 0); other programs have 1e-6 there.
    GradCamPlusPlus {
        /// Added to the denominator.
        eps: f32,
    },
    /// `sum_k relu(G_k) A_k` (Jiang et al. 2021).
    LayerCam,
    /// `sum_k G_k A_k` (Draelos and Carin 2020).
    HiResCam,
}

impl Method {
    /// Every method, in the order of their papers' complexity.
    pub const ALL: [Self; 5] = [
        Self::Cam,
        Self::GradCam,
        Self::GradCamPlusPlus { eps: 0.0 },
        Self::LayerCam,
        Self::HiResCam,
    ];

    /// What a map over `positions` positions is multiplied with to be read in
    /// logit units, as if the whole picture looked like one spot. For heads of
    /// average pooling and one linear layer, CAM, Grad-CAM and HiResCAM are
    /// then one and the same.
    pub fn logit_units(self, positions: usize) -> f32 {
        match self {
            Self::Cam => 1.0,
            // Half of the evidence, where it is weak (see the denominator).
            Self::GradCamPlusPlus { .. } => 2.0,
            Self::GradCam | Self::LayerCam | Self::HiResCam => positions as f32,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cam => f.write_str("cam"),
            Self::GradCam => f.write_str("gradcam"),
            Self::GradCamPlusPlus { eps } if *eps > 0.0 => write!(f, "gradcam++:eps={eps:e}"),
            Self::GradCamPlusPlus { .. } => f.write_str("gradcam++"),
            Self::LayerCam => f.write_str("layercam"),
            Self::HiResCam => f.write_str("hirescam"),
        }
    }
}

/// No method goes by that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no method {0:?}; use cam, gradcam, gradcam++ (or gradcam++:eps=1e-6), layercam or hirescam"
)]
pub struct UnknownMethod(pub String);

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        let unknown = || UnknownMethod(text.to_owned());
        let lower = text.trim().to_lowercase();
        let (name, setting) = match lower.split_once(':') {
            Some((name, setting)) => (name, Some(setting)),
            None => (lower.as_str(), None),
        };
        let method = match name {
            "cam" => Self::Cam,
            "gradcam" | "grad-cam" => Self::GradCam,
            "gradcam++" | "grad-cam++" => {
                let eps = setting.map_or(Some(0.0), |s| s.strip_prefix("eps=")?.parse().ok());
                let eps = eps.filter(|e: &f32| (0.0..=1.0).contains(e)).ok_or_else(unknown)?;
                return Ok(Self::GradCamPlusPlus { eps });
            }
            "layercam" | "layer-cam" => Self::LayerCam,
            "hirescam" => Self::HiResCam,
            _ => return Err(unknown()),
        };
        if setting.is_some() { Err(unknown()) } else { Ok(method) }
    }
}

impl TryFrom<String> for Method {
    type Error = UnknownMethod;

    fn try_from(text: String) -> Result<Self, UnknownMethod> {
        text.parse()
    }
}

impl From<Method> for String {
    fn from(method: Method) -> Self {
        method.to_string()
    }
}

/// A method, or the choice of one by what the network allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MethodChoice {
    /// CAM where the head allows it, else Grad-CAM.
    #[default]
    Auto,
    /// This one.
    One(Method),
}

impl MethodChoice {
    /// The same choice among several.
    pub fn methods(self) -> Methods {
        match self {
            Self::Auto => Methods::Auto,
            Self::One(method) => Methods::These(vec![method]),
        }
    }
}

impl TryFrom<String> for MethodChoice {
    type Error = UnknownMethod;

    fn try_from(text: String) -> Result<Self, UnknownMethod> {
        if text.trim().eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        text.parse().map(Self::One)
    }
}

impl From<MethodChoice> for String {
    fn from(choice: MethodChoice) -> Self {
        match choice {
            MethodChoice::Auto => "auto".to_owned(),
            MethodChoice::One(method) => method.to_string(),
        }
    }
}

/// The methods by which maps are computed in one pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Methods {
    /// CAM where the head allows it, else Grad-CAM.
    #[default]
    Auto,
    /// Every one that the head allows.
    All,
    /// These.
    These(Vec<Method>),
}

/// A text that chooses no methods.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownMethods {
    /// One of the names is no method's.
    #[error(transparent)]
    Name(#[from] UnknownMethod),
    /// There is no name in it.
    #[error("--method names none; give auto, all or methods separated by commas")]
    Empty,
}

impl FromStr for Methods {
    type Err = UnknownMethods;

    fn from_str(text: &str) -> Result<Self, UnknownMethods> {
        match text.trim().to_lowercase().as_str() {
            "auto" => return Ok(Self::Auto),
            "all" => return Ok(Self::All),
            _ => {}
        }
        let mut methods = Vec::new();
        for name in text.split(',').filter(|name| !name.trim().is_empty()) {
            let method = name.parse()?;
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
        if methods.is_empty() { Err(UnknownMethods::Empty) } else { Ok(Self::These(methods)) }
    }
}

/// What is explained: which combination of logits the gradient is taken of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seed {
    /// The margin for softmax heads of two classes, else the logit.
    #[default]
    Auto,
    /// The logit of the class.
    Logit,
    /// The logit of the class less the mean of the others', weighted with
    /// their softmax: evidence for the class and against the rest. Adding the
    /// same to all logits changes no probability, and not this map either.
    Margin,
}

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().to_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "logit" => Ok(Self::Logit),
            "margin" => Ok(Self::Margin),
            _ => Err(format!("there is no seed {text:?}; use auto, logit or margin")),
        }
    }
}

/// Order of the axes of a feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureLayout {
    /// Image, channel, row, column.
    Nchw,
    /// Image, row, column, channel.
    Nhwc,
    /// Image, token, channel: patches of the picture row by row, behind class
    /// tokens, if any.
    Tokens,
}

impl FeatureLayout {
    /// The name used in settings and results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nchw => "nchw",
            Self::Nhwc => "nhwc",
            Self::Tokens => "tokens",
        }
    }
}

impl FromStr for FeatureLayout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_lowercase();
        let all = [Self::Nchw, Self::Nhwc, Self::Tokens];
        all.into_iter()
            .find(|l| l.name() == lower)
            .ok_or_else(|| format!("there is no layout {text:?}; use nchw, nhwc or tokens"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_methods_are_separated_by_commas_each_once() {
        let these = Methods::These(vec![Method::LayerCam, Method::Cam]);
        assert_eq!("layercam, CAM,layer-cam,".parse(), Ok(these));
        assert_eq!((" All ".parse(), "AUTO".parse()), (Ok(Methods::All), Ok(Methods::Auto)));
        assert_eq!(" , ".parse::<Methods>(), Err(UnknownMethods::Empty));
        assert!(matches!("cam,all".parse::<Methods>(), Err(UnknownMethods::Name(_))));
    }

    #[test]
    fn methods_are_read_as_they_are_written() {
        for method in Method::ALL {
            assert_eq!(method.to_string().parse(), Ok(method));
        }
        let old = Method::GradCamPlusPlus { eps: 1e-6 };
        assert_eq!("GradCAM++:eps=1e-6".parse(), Ok(old));
        assert_eq!(old.to_string().parse(), Ok(old));
        assert_eq!(" Grad-CAM ".parse(), Ok(Method::GradCam));
        for wrong in ["", "gradcam+", "cam:eps=1", "gradcam++:eps=-1", "gradcam++:1e-6", "xgradcam"]
        {
            let error = wrong.parse::<Method>().unwrap_err().to_string();
            assert!(error.contains("use cam, gradcam"), "{error}");
        }
    }
}
